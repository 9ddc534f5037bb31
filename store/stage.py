"""A commit: artifacts get their final names and the manifest its entry, or nothing changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attnexport.core.errors import StorageError
from attnexport.core.os_errors import writing

from .files import make_directories, sync, sync_tree
from .journal import Journal
from .manifest import FILE_NAME, Artifact, Manifest, VersionEntry
from .versioned_directory import VersionedDirectory


class Stage:
    """Artifacts that are being written, in a temporary directory of the export."""

    def __init__(self, directory: VersionedDirectory, temporary: Path) -> None:
        self._directory = directory
        self._temporary = temporary
        self._targets: dict[Path, str] = {}

    def add(self, name: str, target: str) -> Path:
        """The path to write an artifact to.

        Args:
            name: Its temporary name.
            target: Its final path, relative to the export directory, with `{version}` in it.
        """
        path = self._temporary / name
        self._targets[path] = target
        return path

    def discard(self, path: Path) -> None:
        """Take an artifact back that was added."""
        del self._targets[path]
        path.unlink(missing_ok=True)

    def commit(self, describe: Callable[[int], VersionEntry], version: int | None = None) -> VersionEntry:
        """Commit a new version: give every artifact its final name, then write the manifest.

        Args:
            describe: Makes the manifest's entry from the version.
            version: The version, the next free one by default.

        Raises:
            StorageError: if the version exists or the file system refuses. Nothing has changed then, unless the very
                last flush failed, after the manifest was in place.
        """
        with self._committing() as manifest:
            if version is None:
                version = max(self._directory.taken_versions()) + 1
            self._directory.check_free(version)
            entry = describe(version)
            self._give_names(manifest, entry)
        return entry

    def commit_to(self, version: int, artifacts: Sequence[Artifact], *, replace: bool = False) -> VersionEntry:
        """Commit the artifacts to an existing version.

        Args:
            version: The version.
            artifacts: Their entries in the manifest.
            replace: Whether they may replace artifacts of other content at the same paths.

        Raises:
            ArgumentError: if the version does not exist.
            StorageError: if an artifact exists and must not be replaced, or the file system refuses. Nothing has
                changed then, as with `commit`.
        """
        with self._committing() as manifest:
            entry = manifest.entry(version)
            for artifact in artifacts:
                old = entry.artifact_at(artifact.path)
                if old and old.content_hash != artifact.content_hash and not replace:
                    raise StorageError(
                        f"{self._directory.root / artifact.path} exists already with other content, and a version does "
                        "not change; --force replaces it"
                    )
            entry = entry.with_artifacts(artifacts)
            self._give_names(manifest, entry)
        return entry

    @contextmanager
    def _committing(self) -> Iterator[Manifest]:
        """Flush the staged artifacts, lock the directory, and undo commits that were cut off."""
        with writing(self._directory.root):
            for staged in self._targets:
                sync_tree(staged)
            with self._directory.locked():
                # A later undo of a commit that was killed meanwhile would also take back what this one commits.
                self._directory.sweep()
                yield self._directory.manifest()

    def _give_names(self, manifest: Manifest, entry: VersionEntry) -> None:
        root = self._directory.root
        if not (root / FILE_NAME).exists():
            manifest.write(root)  # tells a first commit from a manifest that was moved away
        finals = {staged: root / target.format(version=entry.version) for staged, target in self._targets.items()}
        journal = Journal(root, self._temporary)
        try:
            journal.write(entry, finals)
            for staged, final in finals.items():
                make_directories(final.parent)
                os.rename(staged, final)
                sync(final.parent)
            manifest.with_version(entry).write(root)
        except BaseException:
            if entry not in self._directory.manifest().versions:
                journal.undo()
            journal.forget()
            raise
        # The version is committed now, even if somebody moves the manifest away; a failure here changes nothing.
        with suppress(OSError):
            journal.forget()
