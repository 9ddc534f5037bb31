"""The export directory: versions that appear whole or not at all, whoever else writes and whenever the power goes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from attnexport.core.errors import ArgumentError, ManifestError, StorageError
from attnexport.core.os_errors import writing

from .files import make_directories
from .manifest import FILE_NAME, Artifact, Manifest, ValidationRecord, VersionEntry, read_manifest
from .stage import Journal, Stage

_LOCK = ".lock"
_TEMPORARY = ".tmp-"
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
        """A place to write artifacts in; nothing of it remains unless it is committed.

        Raises:
            StorageError: where the directory cannot be written.
            ManifestError: where its manifest cannot be read.
        """
        with writing(self.root):
            made = make_directories(self.root)
        try:
            with writing(self.root), self.locked():
                self.manifest()
                self.sweep()
                temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.root))
                alive = FileLock(temporary / _LOCK)
                alive.acquire()
            try:
                yield Stage(self, temporary)
            finally:
                # Under the lock, or a sweep could take the half removed for dead. A journal that is still there means
                # that a rollback failed: what it keeps of the old state is for the next sweep to put back.
                with suppress(OSError), self.locked():
                    if not Journal(self.root, temporary).exists():
                        shutil.rmtree(temporary, ignore_errors=True)
                alive.release()
        finally:
            self._remove_if_unused(made)

    def record(self, entry: VersionEntry, validations: Mapping[str, ValidationRecord]) -> None:
        """Write into the manifest what a validation found.

        Args:
            entry: The version as it was looked at. Artifacts that were replaced meanwhile stay as they are.
            validations: By the artifact's path.

        Raises:
            StorageError: where the directory cannot be written.
            ManifestError: where its manifest cannot be read.
        """
        with writing(self.root), self.locked():
            manifest = self.manifest()
            now = manifest.entry(entry.version)
            found = [
                replace(each, validation=validations[each.path])
                for each in now.artifacts
                if each.path in validations and _is_same(each, entry.artifact_at(each.path))
            ]
            manifest.with_version(now.with_artifacts(found)).write(self.root)

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

    def sweep(self) -> None:
        """Remove what killed exports left, and undo a commit that was cut off halfway; the caller holds the lock."""
        for leftover in self.root.glob(f"{_TEMPORARY}*"):
            if not leftover.is_dir():
                leftover.unlink(missing_ok=True)
                continue
            alive = FileLock(leftover / _LOCK, blocking=False)
            try:
                with alive:
                    self._settle(Journal(self.root, leftover))
                    shutil.rmtree(leftover, ignore_errors=True)
            except Timeout:
                continue  # its export is still running

    def _settle(self, journal: Journal) -> None:
        manifest = read_manifest(self.root)
        # A commit begins by writing one; where it was taken away, nobody can tell what was committed.
        if manifest is not None and not journal.is_committed(manifest):
            journal.undo()
        journal.forget()

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


def _is_same(now: Artifact, then: Artifact | None) -> bool:
    return then is not None and (now.content_hash, now.file_hash) == (then.content_hash, then.file_hash)
