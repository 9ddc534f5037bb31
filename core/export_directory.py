"""The export directory: versions that appear whole or not at all, whoever else writes and whenever the power goes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import ArgumentError, ManifestError, StorageError
from .files import sync, sync_tree, write_atomically, writing
from .manifest import FILE_NAME, Artifact, Manifest, VersionEntry, read_manifest

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
        """A place to write artifacts in; nothing of it remains unless it is committed.

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
            kept = {(each.path, each.content_hash) for entry in manifest.versions for each in entry.artifacts}
            if not {(path, content_hash) for path, content_hash in journal["artifacts"]} <= kept:
                for final, backup in journal["paths"].items():
                    _restore(self.root / final, leftover / backup)

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
    """Artifacts in the making, in a temporary directory beside their final place."""

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
        """Give every artifact its final name, then write a new version into the manifest.

        Args:
            describe: Makes the manifest's entry once the version is known.
            version: The version to take, the next one where None.

        Raises:
            StorageError: where the version exists or the file system refuses. Nothing has changed then, unless the
                very last flush failed, after the manifest was in its place.
        """
        with self._committing() as manifest:
            if version is None:
                version = max(self._directory.taken_versions()) + 1
            self._directory.check_free(version)
            entry = describe(version)
            self._give_names(manifest, entry)
        return entry

    def commit_to(self, version: int, artifacts: Sequence[Artifact], *, replace: bool = False) -> VersionEntry:
        """Add what was staged to a version that exists.

        Args:
            version: The version.
            artifacts: How the manifest describes what was staged, a path each.
            replace: Whether an artifact of other content at the same path may be replaced.

        Raises:
            ArgumentError: where there is no such version.
            StorageError: where an artifact exists and is not to be replaced, or the file system refuses. Nothing has
                changed then.
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
        """Everything staged is on disk, and the directory is locked."""
        with writing(self._directory.root):
            for staged in self._targets:
                sync_tree(staged)
            with self._directory.locked():
                yield self._directory.manifest()

    def _give_names(self, manifest: Manifest, entry: VersionEntry) -> None:
        root = self._directory.root
        if not (root / FILE_NAME).exists():
            manifest.write(root)  # so that an undo can tell a first commit from a manifest that was taken away
        finals = {staged: root / target.format(version=entry.version) for staged, target in self._targets.items()}
        backups = {final: self._temporary / f"old-{number}" for number, final in enumerate(finals.values())}
        for final, backup in backups.items():
            if final.is_file():
                _link(final, backup)
        self._write_journal(entry, backups)
        try:
            for staged, final in finals.items():
                final.parent.mkdir(parents=True, exist_ok=True)
                os.rename(staged, final)
                sync(final.parent)
            manifest.with_version(entry).write(root)
        except BaseException:
            if entry not in self._directory.manifest().versions:
                for staged, final in finals.items():
                    if not staged.exists():
                        _restore(final, backups[final])
                _remove_empty({final.parent for final in finals.values()})
            raise
        # From here on the manifest is the truth, even where someone moves it away.
        (self._temporary / _JOURNAL).unlink()

    def _write_journal(self, entry: VersionEntry, backups: Mapping[Path, Path]) -> None:
        """What is about to get its name, and where that which had it is kept."""
        root = self._directory.root
        paths = {final.relative_to(root).as_posix(): backup.name for final, backup in backups.items()}
        hashes = [(each.path, each.content_hash) for each in entry.artifacts if each.path in paths]
        write_atomically(self._temporary / _JOURNAL, json.dumps({"paths": paths, "artifacts": hashes}))
        sync(root)


def _make_directories(path: Path) -> list[Path]:
    """Make a directory with its parents; returns those that were made, innermost first."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)
    return missing


def _link(source: Path, target: Path) -> None:
    """A second name for a file, a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _restore(final: Path, backup: Path) -> None:
    """Put back what had a name before, or nothing where nothing had it."""
    if backup.exists():
        os.replace(backup, final)
    else:
        _remove(final)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(directories: set[Path]) -> None:
    for directory in directories:
        with suppress(OSError):
            directory.rmdir()
