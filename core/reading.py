"""Reading files of unknown origin: only regular ones, and only up to a size."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path
from typing import IO

from .errors import ContentError

ARRAY_MAGIC = (b"PK", b"\x93NUMPY")  # how an .npz and an .npy begin
_PIECE = 1 << 20
_UNASKED = 1 << 30  # bytes that a file may have, or unpack to, whatever it takes on disk
MAX_RATIO = 20  # of unpacked to packed; weights and samples have 1 to 3


def is_regular(path: Path) -> bool:
    """Whether there is a regular file, or a link to one: not a device, a pipe or a socket, which may never end."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def check_filled(path: Path) -> None:
    """Refuse a file that says to be far larger than what is on disk: one with holes, which takes nothing to make.

    Args:
        path: The file.

    Raises:
        ContentError: if it has more than 1 GiB, and more than `MAX_RATIO` times what it takes on disk; or if it is not
            a regular file.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = file.truncate(1 << 40)
        ...     try:
        ...         check_filled(Path(file.name))
        ...     except ContentError as error:
        ...         print(str(error).partition(" says ")[2])
        to have 1,099,511,627,776 bytes and takes 0 on disk; a file with holes is not read
    """
    _check_filled(path.stat(), str(path))


def _check_filled(status: os.stat_result, what: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ContentError(f"{what} is not a regular file")
    stored = getattr(status, "st_blocks", None)  # of 512 bytes, as POSIX has it; Windows has none
    if stored is not None and status.st_size > max(_UNASKED, MAX_RATIO * 512 * stored):
        raise ContentError(
            f"{what} says to have {status.st_size:,} bytes and takes {512 * stored:,} on disk; a file with holes is "
            "not read"
        )


def check_unpacked_size(archive: zipfile.ZipFile, packed: int, what: str) -> None:
    """Refuse a zip archive that unpacks to far more than it is, before any of it is unpacked.

    Args:
        archive: The archive.
        packed: Its own size, in bytes.
        what: What messages call it.

    Raises:
        ContentError: if it would take more than 1 GiB and more than `MAX_RATIO` times its own size.
    """
    unpacked = sum(each.file_size for each in archive.infolist())
    if unpacked > max(_UNASKED, MAX_RATIO * packed):
        raise ContentError(f"{what} has {packed:,} bytes and would unpack to {unpacked:,}; it is not unpacked")


def read_bytes(path: Path, limit: int, what: str = "") -> bytes:
    """Read a regular file of at most `limit` bytes.

    Args:
        path: The file.
        limit: The largest size that is read, in bytes.
        what: What messages call the file, its path by default.

    Returns:
        Its content.

    Raises:
        ContentError: if it is not a regular file, or larger.
        OSError: if it does not exist or cannot be read.
    """
    what = what or str(path)
    # Without blocking, or opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise ContentError(f"{what} is a directory; a file is expected")
        if not stat.S_ISREG(status.st_mode):
            raise ContentError(f"{what} is not a regular file")
        if status.st_size <= limit:
            _check_filled(status, what)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1) if status.st_size <= limit else None  # it may grow meanwhile
    finally:
        os.close(descriptor)
    if content is None or len(content) > limit:
        raise ContentError(f"{what} is larger than the {limit:,} bytes that are read of such a file")
    return content


def read_stream(stream: IO[bytes], limit: int, what: str, array_limit: int = 0) -> bytes:
    """Read a stream to its end.

    Args:
        stream: The stream.
        limit: The most bytes that are read.
        what: What messages call it.
        array_limit: That of numpy's files, which are larger than text and take less to read; `limit` if that is more.

    Raises:
        ContentError: if it does not end by then.
    """
    content = bytearray()
    while piece := stream.read(_PIECE):
        content += piece
        if content.startswith(ARRAY_MAGIC):
            limit = max(limit, array_limit)
        if len(content) > limit:
            raise ContentError(f"{what} is larger than the {limit:,} bytes that are read of it")
    return bytes(content)
