"""Writing that survives a crash: flushed to disk, then renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import AttnexportError, StorageError

_REASONS = {
    errno.ENOSPC: "no space left on device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EFBIG: "the file would be larger than the limit for this process",
    errno.ENOTDIR: "a part of the path is a file, not a directory",
    errno.EEXIST: "a file of that name is in the way",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever the operating system refuses into a StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, AttnexportError):
            raise
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"cannot write {path}: {reason}") from error


def sync(path: Path) -> None:
    """Flush a file, or a directory's own entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Flush a file, or a directory with all that is in it, to disk."""
    if root.is_dir():
        for child in root.iterdir():
            sync_tree(child)
    sync(root)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` in the end: a reader sees the old file or the new, no part.

    Where the body fails, nothing is left.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's text as a whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def size_of(path: Path) -> int:
    """Bytes in a file, or in all files below a directory."""
    if path.is_dir():
        return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())
    return path.stat().st_size
