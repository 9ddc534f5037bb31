"""Writing files so that a crash leaves the old content or the new: flushed to disk, then renamed."""

from __future__ import annotations

import glob
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attnexport.core.reading import check_filled

TEMPORARY = ".tmp-"  # how the names of what is being written begin
ABANDONED_SECONDS = 600.0  # a file that is written at once is in its place long before


def sync(path: Path) -> None:
    """Flush a file, or a directory's own entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Flush a file, or a directory and everything in it, to disk."""
    if root.is_dir():
        for child in root.iterdir():
            sync_tree(child)
    sync(root)


def make_directories(path: Path) -> list[Path]:
    """Make a directory and its parents, flushed to disk; returns the new ones, innermost first."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)
    return missing


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file that replaces `path` at the end, so that a reader sees the old content or the new, never a part.

    Yields:
        The path to write to. If the body raises, the new file is removed and `path` stays as it is.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     path = Path(name) / "report.html"
        ...     with replacing(path) as temporary:
        ...         _ = temporary.write_text("text")
        ...     path.read_text()
        'text'
    """
    temporary = _new_file(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _new_file(path: Path) -> Path:
    """A new, empty file beside a path, which two writers do not share and no link or pipe stands in for."""
    tail = path.name[-32:]
    for left in path.parent.glob(f"{TEMPORARY}????????-{glob.escape(tail)}"):  # by those that were killed
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > ABANDONED_SECONDS:
                left.unlink()
    while True:
        temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{tail}")
        with suppress(FileExistsError):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return temporary


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Write a directory that replaces `path` at the end; its parents are made.

    Yields:
        The directory to write to. If the body raises, it is removed and `path` stays as it is.
    """
    make_directories(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent))
    old = temporary.with_name(f"{temporary.name}-old")
    try:
        yield temporary
        sync_tree(temporary)
        if path.exists():
            os.rename(path, old)
        os.rename(temporary, path)
    except BaseException:
        if old.exists():
            os.rename(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's text at once."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def hash_of(path: Path) -> str:
    """`sha256:...` of a file's bytes, or of the names and bytes of all files below a directory.

    Raises:
        ContentError: if a file is far larger than what it takes on disk: reading a terabyte of nothing takes hours.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            name = os.fsencode(file.relative_to(path).as_posix())  # which need not be text
            digest.update(b"%s\0%s\0" % (name, hash_of(file).encode()))
    else:
        check_filled(path)
        with path.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def size_of(path: Path) -> int:
    """The size of a file, or of all files below a directory, in bytes."""
    if path.is_dir():
        return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())
    return path.stat().st_size
