"""Version directories on disk: which there are, and whether anybody still writes them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

_SETTLED = 2.0  # seconds without a change after which nobody is taken to be writing
_DIGITS = 19  # of the largest int64
_MOST_VERSION = 2**63 - 1


def versions_on_disk(base_path: Path) -> dict[int, Path]:
    """Directories whose names are numbers, by number; `00000123` is 123. Empty where there is no base path."""
    found: dict[int, Path] = {}
    try:
        with os.scandir(base_path) as entries:
            for entry in entries:
                number = _number(entry.name)
                if number is not None and entry.is_dir():
                    found[number] = Path(entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found


def _number(name: str) -> int | None:
    if not (name.isascii() and name.isdecimal()) or len(name.lstrip("0")) > _DIGITS:
        return None
    number = int(name)
    return number if number <= _MOST_VERSION else None


Fingerprint = tuple[tuple[str, int, int], ...]


def fingerprint(path: Path) -> Fingerprint:
    """Name, size and time of change (ns) of everything below a path; equal where nothing has changed."""
    return tuple(sorted(_entries(str(path))))


def _entries(path: str) -> Iterator[tuple[str, int, int]]:
    try:
        # Not the time of modification: copies often keep that.
        status = os.stat(path)
        yield path, status.st_size, status.st_ctime_ns
        if not os.path.isdir(path):
            return
        with os.scandir(path) as entries:
            names = [entry.path for entry in entries]
    except FileNotFoundError:
        return  # taken away between two looks, which the next one shows
    for name in names:
        yield from _entries(name)


def is_settled(now: Fingerprint, before: Fingerprint | None) -> bool:
    """Whether nobody writes there: it looks as before, or has not changed for a while."""
    newest = max((changed for _, _, changed in now), default=0)
    return now == before or time.time_ns() - newest > _SETTLED * 1e9
