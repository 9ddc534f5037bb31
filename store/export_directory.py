"""The export directory: versions that appear whole or not at all, whoever else writes and whenever the power goes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from attnexport.core.errors import ManifestError
from attnexport.core.os_errors import writing

from .files import make_directories
from .journal import Journal
from .manifest import FILE_NAME, Artifact, ValidationRecord, VersionEntry
from .stage import Stage
from .versioned_directory import LOCK, TEMPORARY, VersionedDirectory


class ExportDirectory(VersionedDirectory):
    """One model's exports: `keras/`, `saved_model/`, `tflite/` by version, and the manifest over them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     directory = ExportDirectory(Path(name) / "classifier")
        ...     directory.name, directory.manifest().versions
        ('classifier', ())
    """

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
                temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
                alive = FileLock(temporary / LOCK)
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

    def _remove_if_unused(self, made: list[Path]) -> None:
        """Take the directories that this export made away again, unless something is in them by now."""
        if self.root not in made:
            return
        with suppress(OSError, ManifestError), self.locked():
            if {path.name for path in self.root.iterdir()} <= {LOCK, FILE_NAME} and not self.manifest().versions:
                # Whoever waits for this lock sees that its file is gone and makes the directory anew.
                (self.root / FILE_NAME).unlink(missing_ok=True)
                (self.root / LOCK).unlink()
                for directory in made:
                    directory.rmdir()


def _is_same(now: Artifact, then: Artifact | None) -> bool:
    return then is not None and (now.content_hash, now.file_hash) == (then.content_hash, then.file_hash)
