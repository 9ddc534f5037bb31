"""The export directory: versions that appear whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from attnexport.core import ArgumentError, ManifestError, Signature, StorageError, TensorSpec
from attnexport.store import Artifact, ExportDirectory
from attnexport.store.manifest import FILE_NAME, VersionEntry

SIGNATURE = Signature("s", (TensorSpec("x", "float32", None),), (TensorSpec("y", "float32", None),))


def entry(version: int) -> VersionEntry:
    artifact = Artifact("saved_model", f"saved_model/{version}", "sha256:0", 1, "float32", (SIGNATURE,))
    return VersionEntry(version, "2026-01-01", {}, {}, "Keras", (artifact,))


def export(root: Path, version: int | None = None) -> VersionEntry:
    """A small export: an original, and a SavedModel of two files."""
    with ExportDirectory(root).stage() as stage:
        stage.add("original.keras", "keras/{version}.keras").write_text("original")
        saved_model = stage.add("saved_model", "saved_model/{version}")
        saved_model.mkdir()
        (saved_model / "saved_model.pb").write_text("graph")
        (saved_model / "variables").write_text("weights")
        return stage.commit(entry, version)


def tree(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.name != ".lock"}


def whole(root: Path, *versions: int) -> set[str]:
    """What a directory of whole versions holds."""
    held = {FILE_NAME, "keras", "saved_model"}
    for version in versions:
        files = ("", "/saved_model.pb", "/variables")
        held |= {f"keras/{version}.keras", *(f"saved_model/{version}{each}" for each in files)}
    return held


def test_versions_count_up_and_are_whole(tmp_path: Path) -> None:
    root = tmp_path / "exports" / "m"
    assert [export(root).version for _ in range(3)] == [1, 2, 3]
    assert tree(root) == whole(root, 1, 2, 3)
    assert [each.version for each in ExportDirectory(root).manifest().versions] == [1, 2, 3]
    assert ExportDirectory(root).newest().version == 3
    assert {path.name for path in (root / "saved_model").iterdir()} == {"1", "2", "3"}


def test_a_version_is_never_overwritten_nor_its_number_used_again(tmp_path: Path) -> None:
    root = tmp_path / "m"
    export(root, 5)
    with pytest.raises(StorageError, match=r"version 5 .* next free one is 6"):
        export(root, 5)
    (root / "saved_model" / "9").mkdir()  # copied here by someone
    assert export(root).version == 10
    for path in sorted((root / "saved_model" / "10").iterdir()):
        path.unlink()
    (root / "saved_model" / "10").rmdir()
    assert export(root).version == 11


def test_an_empty_directory_has_no_newest(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="holds no export yet"):
        ExportDirectory(tmp_path).newest()


def fail(root: Path) -> None:
    with ExportDirectory(root).stage() as stage:
        stage.add("x", "keras/{version}.keras").write_text("half")
        raise RuntimeError


def test_a_failed_export_leaves_nothing_not_even_directories(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b" / "m"
    with pytest.raises(RuntimeError):
        fail(root)
    assert not (tmp_path / "a").exists()
    export(root)
    before = tree(root)
    with pytest.raises(RuntimeError):
        fail(root)
    assert tree(root) == before


def test_a_commit_that_fails_halfway_is_undone(tmp_path: Path, fill_disk: Callable[[], None]) -> None:
    root = tmp_path / "m"
    export(root)
    before = tree(root)
    fill_disk()
    with pytest.raises(StorageError, match="no space left"):
        export(root)
    assert tree(root) == before


def test_a_damaged_manifest_stops_an_export_before_it_begins(tmp_path: Path) -> None:
    root = tmp_path / "m"
    export(root)
    (root / FILE_NAME).write_text("{")
    before = tree(root)
    with pytest.raises(ManifestError):
        export(root)
    assert tree(root) == before


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file")
    with pytest.raises(StorageError, match="a file"):
        export(tmp_path / "m")
    with pytest.raises(StorageError, match="not a directory"):
        export(tmp_path / "m" / "deeper")
    assert (tmp_path / "m").read_text() == "a file"


def test_two_at_once_get_two_versions(tmp_path: Path) -> None:
    root, versions, barrier = tmp_path / "m", [], threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        versions.append(export(root).version)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [1, 2, 3, 4]
    assert tree(root) == whole(root, 1, 2, 3, 4)


KILLED = """
import os, signal, sys
from attnexport.store import files, export_directory
sys.path.insert(0, sys.argv[3])
from test_export_directory import export
from pathlib import Path
function, count = sys.argv[1].rsplit(":", 1)
seen = 0
def dying(real):
    def call(*arguments, **options):
        global seen
        seen += 1
        if seen == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call
setattr(os, function, dying(getattr(os, function)))
export(Path(sys.argv[2]))
"""


@pytest.mark.parametrize(
    "moment",
    ["fsync:1", "fsync:5", "replace:1", "rename:1", "rename:2", "fsync:9", "fsync:10", "replace:2"],
)
def test_killed_at_any_moment_the_old_state_stands_and_the_next_export_sweeps(
    tmp_path: Path, moment: str, fork_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    root = tmp_path / "m"
    export(root)
    died = fork_python(KILLED, moment, str(root), str(Path(__file__).parent))
    assert died.returncode == -signal.SIGKILL, died.stderr
    for saved_model in (root / "saved_model").iterdir():  # whatever a server sees is whole
        assert {path.name for path in saved_model.iterdir()} == {"saved_model.pb", "variables"}
    known = [each.version for each in ExportDirectory(root).manifest().versions]
    assert known in ([1], [1, 2])
    following = export(root).version
    assert tree(root) == whole(root, *known, following)


def test_a_report_that_was_cut_off_is_swept_once_it_is_old(tmp_path: Path) -> None:
    root = tmp_path / "m"
    export(root)
    (root / "digest").mkdir()
    for name in (".tmp-1.sha256", ".tmp-2.sha256", "1.sha256"):
        (root / "digest" / name).write_text("half")
    os.utime(root / "digest" / ".tmp-1.sha256", (0, 0))
    os.utime(root / "digest" / "1.sha256", (0, 0))
    export(root)
    assert {path.name for path in (root / "digest").iterdir()} == {".tmp-2.sha256", "1.sha256"}


@pytest.mark.parametrize("moment", ["rename:1", "rename:2", "unlink:1", "unlink:2", "unlink:3", "unlink:4", "rmdir:1"])
def test_a_sweep_killed_at_any_moment_leaves_no_half_of_what_it_takes_away(
    tmp_path: Path, moment: str, fork_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    root = tmp_path / "m"
    export(root)
    for when in ("replace:2", moment):  # the manifest's rename, then the sweep
        died = fork_python(KILLED, when, str(root), str(Path(__file__).parent))
        assert died.returncode == -signal.SIGKILL, died.stderr
        for saved_model in (root / "saved_model").iterdir():
            assert {path.name for path in saved_model.iterdir()} == {"saved_model.pb", "variables"}
    assert export(root).version == 2
    assert tree(root) == whole(root, 1, 2)


def test_a_failed_commit_of_another_layout_takes_its_directories_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "m"
    export(root)
    before = tree(root)

    def fail_to_rename(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail_to_rename)
    with ExportDirectory(root).stage() as stage:
        stage.add("x", "tflite/{version}/x.tflite").write_text("x")
        with pytest.raises(StorageError, match="no space left"):
            stage.commit(entry)
    assert tree(root) == before


def test_a_running_export_is_not_swept(tmp_path: Path) -> None:
    root = tmp_path / "m"
    with ExportDirectory(root).stage() as stage:
        path = stage.add("original.keras", "keras/{version}.keras")
        path.write_text("mine")
        assert export(root).version == 1
        assert path.read_text() == "mine"
        assert stage.commit(entry).version == 2


def test_a_last_flush_that_fails_leaves_manifest_and_files_of_one_mind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "m"
    export(root)
    real = os.replace

    def replace_then_fail(source: Path, target: Path) -> None:
        real(source, target)
        if Path(target).name == FILE_NAME and '"version": 2' in Path(target).read_text():
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", replace_then_fail)
    with pytest.raises(StorageError):
        export(root)
    assert tree(root) == whole(root, 1, 2)
    assert [each.version for each in ExportDirectory(root).manifest().versions] == [1, 2]


def test_a_committed_version_outlives_its_manifest(
    tmp_path: Path, fork_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Killed after the commit, and then the manifest moved away, as its error message advises."""
    root = tmp_path / "m"
    export(root)
    died = fork_python(KILLED, "unlink:1", str(root), str(Path(__file__).parent))
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(ExportDirectory(root).manifest().versions) == 2
    (root / FILE_NAME).rename(tmp_path / "moved.json")
    assert export(root).version == 3
    assert {path.name for path in (root / "saved_model").iterdir()} == {"1", "2", "3"}


def test_exports_that_fail_do_not_disturb_others(tmp_path: Path) -> None:
    root, wrong = tmp_path / "m", []

    def work(number: int) -> None:
        for turn in range(12):
            try:
                (export if (number + turn) % 2 else fail)(root)
            except RuntimeError:
                pass
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert tree(root) == whole(root, *range(1, 25))
