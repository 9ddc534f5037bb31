"""Artifacts added to a version that exists: all of them or none, and what they replace is not lost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from attnexport.core import ArgumentError, Artifact, ExportDirectory, Signature, StorageError, TensorSpec, VersionEntry

SIGNATURE = Signature("s", (TensorSpec("x", "float32", None),), (TensorSpec("y", "float32", None),))


def artifact(name: str, content: str) -> Artifact:
    return Artifact("tflite", f"tflite/1/{name}.tflite", f"sha256:{content}", len(content), "int8", (SIGNATURE,))


def begin(root: Path) -> None:
    """A version with an original and nothing else."""
    with ExportDirectory(root).stage() as stage:
        stage.add("original.keras", "keras/{version}.keras").write_text("original")
        stage.commit(lambda version: VersionEntry(version, "2026-01-01", {}, {}, "Keras", ()))


def add(root: Path, *, replace: bool = False, version: int = 1, **files: str) -> VersionEntry:
    """Add files of this content by name."""
    with ExportDirectory(root).stage() as stage:
        for name, content in files.items():
            stage.add(name, f"tflite/1/{name}.tflite").write_text(content)
        return stage.commit_to(version, [artifact(*each) for each in files.items()], replace=replace)


def held(root: Path) -> dict[str, str]:
    """What is there, by the manifest, which must be what is there on disk."""
    told = {each.path: each.content_hash for each in ExportDirectory(root).newest().artifacts}
    on_disk = {path.relative_to(root).as_posix(): f"sha256:{path.read_text()}" for path in root.glob("tflite/*/*")}
    assert told == on_disk
    assert not list(root.glob(".tmp-*"))
    return {Path(path).stem: content.removeprefix("sha256:") for path, content in told.items()}


def test_artifacts_are_added_and_replaced_when_asked(tmp_path: Path) -> None:
    begin(tmp_path)
    add(tmp_path, a="one", b="two")
    entry = add(tmp_path, b="two", c="three")
    assert held(tmp_path) == {"a": "one", "b": "two", "c": "three"}
    assert [each.path for each in entry.artifacts] == [f"tflite/1/{name}.tflite" for name in "abc"]
    with pytest.raises(StorageError, match=r"a\.tflite exists already with other content.*--force replaces it"):
        add(tmp_path, a="other", d="new")
    assert held(tmp_path) == {"a": "one", "b": "two", "c": "three"}
    add(tmp_path, replace=True, a="other", d="new")
    assert held(tmp_path) == {"a": "other", "b": "two", "c": "three", "d": "new"}


def test_a_version_that_does_not_exist(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(ArgumentError, match="has no version 3; there is 1"):
        add(tmp_path, version=3, a="one")
    assert held(tmp_path) == {}


def test_an_addition_that_fails_halfway_puts_the_old_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path)
    add(tmp_path, a="one", b="two")
    real, calls = os.rename, []

    def fail_second(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(StorageError, match="no space left"):
        add(tmp_path, replace=True, a="other", b="another", c="new")
    assert held(tmp_path) == {"a": "one", "b": "two"}


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path)
    add(tmp_path, a="one")

    def no_links(source: Path, target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    add(tmp_path, replace=True, a="other")
    assert held(tmp_path) == {"a": "other"}


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
from test_additions import add
from pathlib import Path
function, count = sys.argv[1].rsplit(":", 1)
seen = 0
def dying(real):
    def call(*arguments):
        global seen
        seen += 1
        if seen == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call
setattr(os, function, dying(getattr(os, function)))
add(Path(sys.argv[2]), replace=True, a="other", b="new")
"""


@pytest.mark.parametrize("moment", ["link:1", "replace:1", "rename:1", "rename:2", "replace:2", "unlink:1"])
def test_killed_at_any_moment_old_and_new_are_never_mixed(
    tmp_path: Path, moment: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    root = tmp_path / "m"
    begin(root)
    add(root, a="one")
    died = run_python(KILLED, moment, str(root), str(Path(__file__).parent))
    assert died.returncode == -signal.SIGKILL, died.stderr
    add(root, c="later")  # which sweeps
    assert held(root) in ({"a": "one", "c": "later"}, {"a": "other", "b": "new", "c": "later"})
