"""The export directory: versions that appear whole or not at all, whoever else writes and whenever the power goes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import ArgumentError, ManifestError, StorageError
from .files import sync, sync_tree, write_atomically, writing
from .manifest import FILE_NAME, Manifest, VersionEntry, read_manifest

_LOCK = ".lock"
_TEMPORARY = ".tmp-"
_JOURNAL = "commit.json"
_KINDS = ("keras", "saved_model", "tflite")


class ExportDirectory:
    """One model's exports: `keras/`, `saved_model/`, `tflite/` by version, and the manifest over them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        return self.root.absolute().name

    def manifest(self) -> Manifest:
        """The manifest as it stands, an empty one before the first export."""
        return read_manifest(self.root) or Manifest(self.name)

    def newest(self) -> VersionEntry:
        """The entry of the newest version.

        Raises:
            ArgumentError: where the directory holds no export.
        """
        versions = self.manifest().versions
        if not versions:
            raise ArgumentError(f"{self.root} holds no export yet")
        return versions[-1]

    def check_free(self, version: int) -> None:
        """Refuse a version that exists.

        Raises:
            StorageError: naming the next free one.
        """
        taken = self.taken_versions()
        if version in taken:
            raise StorageError(
                f"version {version} of {self.root} exists already and a version is never overwritten; "
                f"the next free one is {max(taken) + 1}"
            )

    @contextmanager
    def stage(self) -> Iterator[Stage]:
        """A place to write a new version in; nothing of it remains unless it is committed.

        Raises:
            StorageError: where the directory cannot be written.
            ManifestError: where its manifest cannot be read.
        """
        with writing(self.root):
            made = _make_directories(self.root)
        try:
            with writing(self.root), self.locked():
                self.manifest()
                self._sweep()
                temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.root))
                alive = FileLock(temporary / _LOCK)
                alive.acquire()
            try:
                yield Stage(self, temporary)
            finally:
                # Under the lock, or a sweep could take the half removed for dead.
                with suppress(OSError), self.locked():
                    shutil.rmtree(temporary, ignore_errors=True)
                alive.release()
        finally:
            self._remove_if_unused(made)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory's lock: for the moments of sweeping and committing only."""
        while True:
            try:
                lock = FileLock(self.root / _LOCK)
                lock.acquire()
                break
            except FileNotFoundError:  # another export failed and took the directory that it had made away
                self.root.mkdir(parents=True, exist_ok=True)
        try:
            yield
        finally:
            lock.release()

    def taken_versions(self) -> set[int]:
        """Every version number ever used here, deleted ones included, and 0, which is none."""
        on_disk = {int(path.stem) for kind in _KINDS for path in self.root.glob(f"{kind}/*") if path.stem.isdecimal()}
        return {0} | on_disk | {entry.version for entry in self.manifest().versions}

    def _sweep(self) -> None:
        """Remove what killed exports left, and undo a commit that was cut off halfway."""
        for leftover in self.root.glob(f"{_TEMPORARY}*"):
            if not leftover.is_dir():
                leftover.unlink(missing_ok=True)
                continue
            alive = FileLock(leftover / _LOCK, blocking=False)
            try:
                with alive:
                    self._undo(leftover)
                    shutil.rmtree(leftover, ignore_errors=True)
            except Timeout:
                continue  # its export is still running

    def _undo(self, leftover: Path) -> None:
        manifest = read_manifest(self.root)
        if manifest is None:
            return  # a commit begins by writing one; where it was taken away, nobody can tell what was committed
        with suppress(FileNotFoundError):
            journal = json.loads((leftover / _JOURNAL).read_text(encoding="utf-8"))
            if journal["version"] not in {entry.version for entry in manifest.versions}:
                for final in journal["paths"]:
                    _remove(self.root / final)

    def _remove_if_unused(self, made: list[Path]) -> None:
        """Take the directories that this export made away again, unless something is in them by now."""
        if self.root not in made:
            return
        with suppress(OSError, ManifestError), self.locked():
            if {path.name for path in self.root.iterdir()} <= {_LOCK, FILE_NAME} and not self.manifest().versions:
                # Whoever waits for this lock sees that its file is gone and makes the directory anew.
                (self.root / FILE_NAME).unlink(missing_ok=True)
                (self.root / _LOCK).unlink()
                for directory in made:
                    directory.rmdir()


class Stage:
    """A version in the making, in a temporary directory beside its final place."""

    def __init__(self, directory: ExportDirectory, temporary: Path) -> None:
        self._directory = directory
        self._temporary = temporary
        self._targets: dict[Path, str] = {}

    def add(self, name: str, target: str) -> Path:
        """Where to write an artifact.

        Args:
            name: Its temporary name.
            target: Its final path below the export directory, with `{version}` in it.
        """
        path = self._temporary / name
        self._targets[path] = target
        return path

    def commit(self, describe: Callable[[int], VersionEntry], version: int | None = None) -> VersionEntry:
        """Give every artifact its final name, then write the manifest.

        Args:
            describe: Makes the manifest's entry once the version is known.
            version: The version to take, the next one where None.

        Raises:
            StorageError: where the version exists or the file system refuses. Nothing has changed then, unless the
                very last flush failed, after the manifest was in its place.
        """
        directory, root = self._directory, self._directory.root
        with writing(root):
            for staged in self._targets:
                sync_tree(staged)
            with directory.locked():
                if version is None:
                    version = max(directory.taken_versions()) + 1
                directory.check_free(version)
                entry = describe(version)
                finals = {staged: root / target.format(version=version) for staged, target in self._targets.items()}
                manifest = directory.manifest()
                if not (root / FILE_NAME).exists():
                    manifest.write(root)  # so that an undo can tell a first commit from a manifest that was taken away
                self._write_journal(version, list(finals.values()))
                try:
                    for staged, final in finals.items():
                        final.parent.mkdir(parents=True, exist_ok=True)
                        os.rename(staged, final)
                        sync(final.parent)
                    manifest.with_version(entry).write(root)
                except BaseException:
                    if entry not in directory.manifest().versions:
                        for staged, final in finals.items():
                            if not staged.exists():
                                _remove(final)
                        _remove_empty({final.parent for final in finals.values()})
                    raise
                # From here on the manifest is the truth, even where someone moves it away.
                (self._temporary / _JOURNAL).unlink()
        return entry

    def _write_journal(self, version: int, finals: list[Path]) -> None:
        paths = [final.relative_to(self._directory.root).as_posix() for final in finals]
        write_atomically(self._temporary / _JOURNAL, json.dumps({"version": version, "paths": paths}))
        sync(self._directory.root)


def _make_directories(path: Path) -> list[Path]:
    """Make a directory with its parents; returns those that were made, innermost first."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)
    return missing


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(directories: set[Path]) -> None:
    for directory in directories:
        with suppress(OSError):
            directory.rmdir()
