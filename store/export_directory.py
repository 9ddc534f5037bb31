"""The export directory: versions appear whole or not at all, with several writers and after a crash."""

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

from .files import TEMPORARY, make_directories
from .journal import Journal
from .manifest import FILE_NAME, Artifact, ValidationRecord, VersionEntry
from .stage import Stage
from .versioned_directory import LOCK, VersionedDirectory


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
        """Open a stage to write artifacts in; they are removed again unless they are committed.

        Raises:
            StorageError: if the directory cannot be written.
            ManifestError: if its manifest is not valid.
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
                # Under the lock, or a sweep could take a half removed stage for a dead one. A journal that still exists
                # means that a rollback failed: the next sweep restores the old state from it.
                with suppress(OSError), self.locked():
                    if not Journal(self.root, temporary).exists():
                        shutil.rmtree(temporary, ignore_errors=True)
                alive.release()
        finally:
            self._remove_if_unused(made)

    def record(self, entry: VersionEntry, validations: Mapping[str, ValidationRecord]) -> None:
        """Write the results of a validation into the manifest.

        Args:
            entry: The version that was validated. Artifacts that were replaced meanwhile keep no result.
            validations: The results, by the artifact's path.

        Raises:
            StorageError: if the directory cannot be written.
            ManifestError: if its manifest is not valid.
        """
        with writing(self.root), self.locked():
            manifest = self.manifest()
            now = manifest.entry(entry.version)
            validated = [
                replace(each, validation=validations[each.path])
                for each in now.artifacts
                if each.path in validations and _is_same(each, entry.artifact_at(each.path))
            ]
            manifest.with_version(now.with_artifacts(validated)).write(self.root)

    def _remove_if_unused(self, made: list[Path]) -> None:
        """Remove the directories that this export made, unless something is in them by now."""
        if self.root not in made:
            return
        with suppress(OSError, ManifestError), self.locked():
            if {path.name for path in self.root.iterdir()} <= {LOCK, FILE_NAME} and not self.manifest().versions:
                # A process that waits for this lock sees that its file is gone, and makes the directory again.
                (self.root / FILE_NAME).unlink(missing_ok=True)
                (self.root / LOCK).unlink()
                for directory in made:
                    directory.rmdir()


def _is_same(now: Artifact, then: Artifact | None) -> bool:
    return then is not None and (now.content_hash, now.file_hash) == (then.content_hash, then.file_hash)
