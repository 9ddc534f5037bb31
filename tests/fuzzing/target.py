"""What is fuzzed: a parser with documents that it reads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .mutations import Form


@dataclass(frozen=True)
class Target:
    """A parser, or several of the same bytes.

    Attributes:
        seeds: Documents; each is read by one of the parsers at least.
        reads: Each reads bytes.
        refuses: How they refuse them; another exception is a fault.
        form: What the bytes are.
        wrap: What makes an input of changed bytes, and of a number from 0 to 1 that chooses; None if they are one.
    """

    seeds: Sequence[bytes]
    reads: Sequence[Callable[[bytes], object]]
    refuses: tuple[type[Exception], ...]
    form: Form = "bytes"
    wrap: Callable[[bytes, float], bytes] | None = None


_folders: list[tempfile.TemporaryDirectory[str]] = []  # which live as long as the process


def folder() -> Path:
    """A new directory, in memory where there is one."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else None
    _folders.append(tempfile.TemporaryDirectory(prefix="attnexport-fuzz-", dir=place))
    return Path(_folders[-1].name)


def of_file(read: Callable[[Path], object], name: str = "input") -> Callable[[bytes], object]:
    """A reader of bytes from a reader of a file."""
    path = folder() / name

    def from_bytes(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return from_bytes
