"""Errors of the operating system, in words."""

from __future__ import annotations

import errno
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
    """Turn each OSError into a StorageError that names `path`.

    Example:
        >>> with writing(Path("model.tflite")):
        ...     raise OSError(28, "")
        Traceback (most recent call last):
        attnexport.core.errors.StorageError: cannot write model.tflite: no space left on device
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, AttnexportError):
            raise
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"cannot write {path}: {reason}") from error
