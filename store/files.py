"""Writing that survives a crash: flushed to disk, then renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def make_directories(path: Path) -> list[Path]:
    """Make a directory with its parents, on disk too; returns those that were made, innermost first."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)
    return missing


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


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """A directory to write to, which takes the place of `path` in the end.

    Where the body fails, nothing is left and the old directory stays. Parents are made.
    """
    make_directories(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{path.name}-", dir=path.parent))
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
    """Replace a file's text as a whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def hash_of(path: Path) -> str:
    """`sha256:...` of a file's bytes, or of all files below a directory by their names."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{hash_of(file)}\0".encode())
    else:
        with path.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def size_of(path: Path) -> int:
    """Bytes in a file, or in all files below a directory."""
    if path.is_dir():
        return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())
    return path.stat().st_size
