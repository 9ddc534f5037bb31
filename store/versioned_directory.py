"""What an export directory holds, its lock, and the sweep of what killed exports left."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from attnexport.core.errors import ArgumentError, StorageError

from .files import ABANDONED_SECONDS, TEMPORARY
from .journal import Journal
from .links import check_links
from .manifest import Manifest, VersionEntry, read_manifest
from .records import KINDS

LOCK = ".lock"


class VersionedDirectory:
    """One model's versions on disk.

    Args:
        root: The directory, `export/NAME`. It need not exist yet.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def name(self) -> str:
        """The name of the model, which is that of the directory."""
        return self.root.absolute().name

    def manifest(self) -> Manifest:
        """Read the manifest; an empty one before the first export.

        Raises:
            ManifestError: if it is not valid.
            StorageError: if it cannot be read, or a link leads out of the directory.
        """
        check_links(self.root)
        return read_manifest(self.root) or Manifest(self.name)

    def newest(self) -> VersionEntry:
        """The entry of the newest version.

        Raises:
            ArgumentError: if the directory holds no export.
        """
        versions = self.manifest().versions
        if not versions:
            raise ArgumentError(f"{self.root} holds no export yet")
        return versions[-1]

    def taken_versions(self) -> set[int]:
        """Every version number ever used here, deleted ones included, and 0, which is never a version."""
        on_disk = {int(path.stem) for kind in KINDS for path in self.root.glob(f"{kind}/*") if path.stem.isdecimal()}
        return {0} | on_disk | {entry.version for entry in self.manifest().versions}

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
    def locked(self) -> Iterator[None]:
        """Hold the directory's lock: for the moments of sweeping and committing only."""
        while True:
            try:
                lock = FileLock(self.root / LOCK)
                lock.acquire()
                break
            except FileNotFoundError:  # another export failed and removed the directory that it had made
                self.root.mkdir(parents=True, exist_ok=True)
        try:
            yield
        finally:
            lock.release()

    def sweep(self) -> None:
        """Remove what killed exports left, and undo a commit that was cut off halfway; the caller holds the lock."""
        for leftover in self.root.glob(f"{TEMPORARY}*"):
            if leftover.is_symlink() or not leftover.is_dir():
                leftover.unlink(missing_ok=True)
                continue
            alive = FileLock(leftover / LOCK, blocking=False)
            try:
                with alive:
                    self._settle(Journal(self.root, leftover))
                    shutil.rmtree(leftover, ignore_errors=True)
            except Timeout:
                continue  # its export is still running
        for leftover in self.root.glob(f"*/{TEMPORARY}*"):  # reports, digests and the like, which hold no lock
            with suppress(FileNotFoundError):
                status = leftover.lstat()
                if not stat.S_ISDIR(status.st_mode) and time.time() - status.st_mtime > ABANDONED_SECONDS:
                    leftover.unlink()

    def _settle(self, journal: Journal) -> None:
        manifest = read_manifest(self.root)
        # A commit begins by writing one; if it was taken away, nobody can tell what was committed.
        if manifest is not None and not journal.is_committed(manifest):
            journal.check(manifest)
            journal.undo()
        journal.forget()
