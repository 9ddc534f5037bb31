"""Artifacts added to a version that exists: all of them or none, and what they replace is not lost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from attnexport.core import ArgumentError, Signature, StorageError, TensorSpec
from attnexport.store import Artifact, ExportDirectory, VersionEntry
from attnexport.store.manifest import FILE_NAME, CheckRecord, ValidationRecord

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
    with pytest.raises(StorageError, match=r"a\.tflite exists already with other content.*force=True replaces it"):
        add(tmp_path, a="other", d="new")
    assert held(tmp_path) == {"a": "one", "b": "two", "c": "three"}
    add(tmp_path, replace=True, a="other", d="new")
    assert held(tmp_path) == {"a": "other", "b": "two", "c": "three", "d": "new"}


def record(directory: ExportDirectory, entry: VersionEntry, *names: str) -> dict[str, bool | None]:
    """Write a verdict on these; gives the verdicts that the manifest has then."""
    found = ValidationRecord("2026-01-02", "0.1.0", "Keras", {}, {}, (CheckRecord("r", "s", False, *[None] * 5),))
    directory.record(entry, {f"tflite/1/{name}.tflite": found for name in names})
    told = directory.newest().artifacts
    return {Path(each.path).stem: each.validation and each.validation.passed for each in told}


def test_verdicts_are_kept_until_an_artifact_is_replaced(tmp_path: Path) -> None:
    begin(tmp_path)
    entry = add(tmp_path, a="one", b="two", c="three")
    directory = ExportDirectory(tmp_path)
    assert record(directory, entry, "a", "b") == {"a": False, "b": False, "c": None}
    add(tmp_path, replace=True, b="other", d="new")
    # What was looked at is not there any more: its verdict is not that of the file that took its place.
    assert record(directory, entry, "b", "c") == {"a": False, "b": None, "c": False, "d": None}
    assert held(tmp_path) == {"a": "one", "b": "other", "c": "three", "d": "new"}


def test_a_version_that_does_not_exist(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(ArgumentError, match="has no version 3; there is 1"):
        add(tmp_path, version=3, a="one")
    assert held(tmp_path) == {}


def test_an_addition_that_fails_halfway_puts_the_old_back(tmp_path: Path, fill_disk: Callable[[], None]) -> None:
    begin(tmp_path)
    add(tmp_path, a="one", b="two")
    fill_disk()
    with pytest.raises(StorageError, match="no space left"):
        add(tmp_path, replace=True, a="other", b="another", c="new")
    assert held(tmp_path) == {"a": "one", "b": "two"}


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1, "renamed": []}'])
def test_a_journal_of_another_attnexport_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    begin(tmp_path)
    journal = tmp_path / ".tmp-dead/commit.json"
    journal.parent.mkdir()
    journal.write_text(content)
    with pytest.raises(
        StorageError, match=r"commit\.json is not a journal that this attnexport carries out.*remove .*tmp-dead"
    ):
        add(tmp_path, a="one")
    assert journal.read_text() == content


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path)
    add(tmp_path, a="one")

    def no_links(source: Path, target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    add(tmp_path, replace=True, a="other")
    assert held(tmp_path) == {"a": "other"}


def watch_flushes(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The inodes of all that is flushed to disk from now on."""
    flushed: set[int] = set()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    return flushed


def test_a_new_directory_is_on_disk_before_the_manifest_names_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    flushed = watch_flushes(monkeypatch)
    add(tmp_path, a="one")
    parents = [tmp_path, tmp_path / "tflite", tmp_path / "tflite" / "1"]
    assert {path.stat().st_ino for path in parents} <= flushed


def test_a_copy_of_what_is_replaced_is_on_disk_before_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    add(tmp_path, a="one")
    flushed, kept, real = watch_flushes(monkeypatch), [], os.rename

    def no_links(source: Path, target: Path) -> None:
        raise OSError(1, "Operation not permitted")

    def rename(source: Path, target: Path) -> None:
        copies = [path for path in tmp_path.glob(".tmp-*/*") if path.name != "a" and path.is_file()]
        kept.extend(path.stat().st_ino in flushed for path in copies if path.read_bytes() == b"one")
        real(source, target)

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "rename", rename)
    add(tmp_path, replace=True, a="other")
    assert kept == [True]


def test_a_directory_in_the_way_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "tflite" / "1" / "b.tflite").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"b\.tflite is in the way"):
        add(tmp_path, a="one", b="two")
    assert [path.name for path in (tmp_path / "tflite" / "1").iterdir()] == ["b.tflite"]
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_rollback_that_fails_too_is_finished_by_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    add(tmp_path, a="one")
    real = os.replace

    def only_journals(source: Path, target: Path) -> None:
        if Path(target).suffix != ".json" or Path(target).name == FILE_NAME:
            raise OSError(5, "Input/output error")
        real(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", only_journals)
        with pytest.raises(StorageError, match="Input/output"):
            add(tmp_path, replace=True, a="other")
    add(tmp_path, c="later")
    assert held(tmp_path) == {"a": "one", "c": "later"}


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[4])
from test_additions import FILE_NAME, ExportDirectory, add
from pathlib import Path
task, root = sys.argv[1], Path(sys.argv[3])
function, count = sys.argv[2].rsplit(":", 1)
seen, counting = 0, task != "roll back"
def dying(real):
    def call(*arguments, **options):
        global seen
        seen += counting
        if seen == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call
def full(real):
    def call(source, target):
        global counting
        if Path(target).name == FILE_NAME:
            counting = True
            raise OSError(28, "No space left on device")
        return real(source, target)
    return call
setattr(os, function, dying(getattr(os, function)))
if task == "roll back":
    os.replace = full(os.replace)
if task == "sweep":
    with ExportDirectory(root).stage():
        pass
else:
    add(root, replace=True, a="other", b="new")
"""
ForkPython = Callable[..., subprocess.CompletedProcess[str]]


def kill(fork_python: ForkPython, task: str, moment: str, root: Path) -> None:
    """Kill a commit, a sweep, or a commit's rollback when it calls a function of `os` for the n-th time."""
    died = fork_python(KILLED, task, moment, str(root), str(Path(__file__).parent))
    assert died.returncode == -signal.SIGKILL, died.stderr


@pytest.mark.parametrize("moment", ["link:1", "replace:1", "rename:1", "rename:2", "replace:2", "unlink:1"])
def test_killed_at_any_moment_old_and_new_are_never_mixed(tmp_path: Path, moment: str, fork_python: ForkPython) -> None:
    root = tmp_path / "m"
    begin(root)
    add(root, a="one")
    kill(fork_python, "commit", moment, root)
    add(root, c="later")  # which sweeps
    assert held(root) in ({"a": "one", "c": "later"}, {"a": "other", "b": "new", "c": "later"})


@pytest.mark.parametrize(
    "moment",
    ["replace:1", "rename:1", "fsync:1", "fsync:2", "unlink:1", "unlink:2", "unlink:3", "unlink:4", "rmdir:1"],
)
def test_a_sweep_killed_at_any_moment_is_done_again(tmp_path: Path, moment: str, fork_python: ForkPython) -> None:
    root = tmp_path / "m"
    begin(root)
    add(root, a="one")
    kill(fork_python, "commit", "replace:2", root)  # everything has its name, and the manifest is the old one
    kill(fork_python, "sweep", moment, root)
    add(root, c="later")
    assert held(root) == {"a": "one", "c": "later"}


@pytest.mark.parametrize(
    "moment", ["replace:1", "rename:1", "fsync:1", "fsync:2", "unlink:1", "unlink:2", "unlink:3", "unlink:4", "rmdir:1"]
)
def test_a_rollback_killed_at_any_moment_is_done_again(tmp_path: Path, moment: str, fork_python: ForkPython) -> None:
    root = tmp_path / "m"
    begin(root)
    add(root, a="one")
    kill(fork_python, "roll back", moment, root)
    add(root, c="later")
    assert held(root) == {"a": "one", "c": "later"}


def test_a_commit_after_a_killed_one_outlives_the_next_sweep(tmp_path: Path, fork_python: ForkPython) -> None:
    """Its stage was there before the other was killed, so that no sweep came in between."""
    root = tmp_path / "m"
    begin(root)
    add(root, a="one")
    with ExportDirectory(root).stage() as stage:
        stage.add("b", "tflite/1/b.tflite").write_text("mine")
        kill(fork_python, "commit", "replace:2", root)
        stage.commit_to(1, [artifact("b", "mine")])
    add(root, c="later")
    assert held(root) == {"a": "one", "b": "mine", "c": "later"}
