"""Base paths that are away for a moment, and what lies in them that is no version."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.serving.server import ModelConfig, VersionPolicy, version_scan
from attnexport.serving.server.version_scan import fingerprint
from attnexport.workflows.serve_models import ArtifactLoader

X = np.ones((1, 3), np.float32)


@pytest.fixture
def base(model_base: Path, tmp_path: Path) -> Path:
    """A base path with version 1, to be changed."""
    shutil.copytree(model_base / "1", tmp_path / "m" / "1")
    return tmp_path / "m"


def look(running: Any, times: int = 3) -> dict[int, str]:
    """The states of versions after so many looks at the disk."""
    for _ in range(times):
        running.server.manager.scan()
    return {each.version: each.state.name for each in running.server.manager.statuses("m")}


def told(running: Any, words: str) -> int:
    return sum(words in event for event in running.events)


def test_a_base_path_that_is_away_unloads_nothing_and_is_told_once_each_time(start_serving: Any, base: Path) -> None:
    running = start_serving([ModelConfig("m", base)])
    for times in (1, 2):
        base.rename(base.parent / "away")
        assert look(running) == {1: "AVAILABLE"}
        assert running.predict({"x": X}).model_spec.version.value == 1
        assert told(running, "until the base path can be read") == times
        (base.parent / "away").rename(base)
        assert look(running) == {1: "AVAILABLE"}


def test_a_base_path_that_goes_away_during_a_look_unloads_nothing(start_serving: Any, base: Path) -> None:
    class Slow(ArtifactLoader):
        def find(self, directory: Path, artifact: str | None) -> Path | None:
            if running:
                base.rename(base.parent / "away")
            return super().find(directory, artifact)

    running: Any = None
    running = start_serving([ModelConfig("m", base)], loader=Slow())
    assert look(running, 1) == {1: "AVAILABLE"}


def test_a_base_path_may_appear_after_the_start(start_serving: Any, base: Path) -> None:
    base.rename(base.parent / "later")
    running = start_serving([ModelConfig("m", base)])
    assert look(running) == {}
    assert told(running, "until the base path can be read") == len(running.events) == 1
    (base.parent / "later").rename(base)
    assert look(running) == {1: "AVAILABLE"}


def test_a_link_to_itself_is_passed_over_and_told_once(start_serving: Any, model_base: Path, base: Path) -> None:
    running = start_serving([ModelConfig("m", base)])
    os.symlink("9", base / "9")
    shutil.copytree(model_base / "2", base / "2")
    assert look(running)[2] == "AVAILABLE"
    assert told(running, f"{base / '9'} is skipped") == 1


def test_links_that_lead_back_into_a_version_do_not_keep_it_from_loading(start_serving: Any, base: Path) -> None:
    assets = base / "1" / "assets"
    assets.mkdir()
    for name, target in (("self", "."), ("again", "."), ("up", ".."), ("loop", "loop")):
        os.symlink(target, assets / name)
    before = fingerprint(base / "1")
    assert len(before) < 20
    assert look(start_serving([ModelConfig("m", base)])) == {1: "AVAILABLE"}
    (assets / "file").write_text("new")
    assert fingerprint(base / "1") != before


def test_a_link_to_a_whole_disk_costs_a_poll_no_more_than_a_large_version(
    start_serving: Any, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_scan, "_MAX_ENTRIES", 50)
    disk = base.parent / "disk"
    for number in range(20):
        (disk / f"{number}" / "deep").mkdir(parents=True)
        for name in range(5):
            (disk / f"{number}" / "deep" / f"{name}").touch()
    (base / "1" / "zlink").symlink_to(disk)
    assert len(fingerprint(base / "1")) == 50
    assert fingerprint(base / "1") == fingerprint(base / "1")
    assert look(start_serving([ModelConfig("m", base)])) == {1: "AVAILABLE"}


def test_a_version_that_cannot_be_read_fails_alone_with_its_error_once(
    start_serving: Any, model_base: Path, base: Path
) -> None:
    class Guarded(ArtifactLoader):
        """Root, which tests may run as, reads everything."""

        def find(self, directory: Path, artifact: str | None) -> Path | None:
            if directory.name in closed:
                raise PermissionError(13, "Permission denied", str(directory / "saved_model.pb"))
            return super().find(directory, artifact)

    shutil.copytree(model_base / "2", base / "3")
    closed = {"3"}
    running = start_serving([ModelConfig("m", base, policy=VersionPolicy(every=True))], loader=Guarded())
    shutil.copytree(model_base / "2", base / "2")
    assert look(running) == {3: "END", 2: "AVAILABLE", 1: "AVAILABLE"}
    [failed] = [each for each in running.server.manager.statuses("m") if each.version == 3]
    assert "cannot be read" in failed.message
    assert "Permission denied" in failed.message
    assert told(running, "version 3 does not load") == 1
    closed |= {"1"}
    assert look(running)[1] == "AVAILABLE", "what is loaded needs no file any more"
    closed.clear()
    os.utime(base / "3")  # as chmod would
    assert look(running)[3] == "AVAILABLE"


def test_a_look_that_fails_is_told_once_and_the_next_one_comes(
    start_serving: Any, model_base: Path, base: Path
) -> None:
    class Failing(ArtifactLoader):
        def find(self, directory: Path, artifact: str | None) -> Path | None:
            looked.release()
            if failing and directory.is_relative_to(base):
                raise ValueError("no such luck")
            return super().find(directory, artifact)

    looked, failing = threading.Semaphore(0), True
    shutil.copytree(model_base / "1", base.parent / "n" / "1")
    configs = [ModelConfig(name, base.parent / name) for name in ("m", "n")]
    running = start_serving(configs, loader=Failing(), poll_seconds=0.01)
    assert running.predict({"x": X}, name="n").model_spec.version.value == 1, "the other model is served"
    for _ in range(10):
        assert looked.acquire(timeout=60)
    assert told(running, "scanning them failed: ValueError: no such luck") == 1
    failing = False
    for _ in range(600):
        if told(running, "model 'm' version 1 is available"):
            break
        threading.Event().wait(0.1)
    assert running.predict({"x": X}).model_spec.version.value == 1


def test_directories_may_be_deeper_than_python_recurses(tmp_path: Path) -> None:
    deepest, depth = str(tmp_path / "1"), sys.getrecursionlimit()
    for _ in range(depth):
        os.mkdir(deepest)
        deepest += "/d"
    try:
        assert len(fingerprint(tmp_path / "1")) == depth
    finally:
        for _ in range(depth):  # pytest would recurse
            deepest = os.path.dirname(deepest)
            os.rmdir(deepest)
