"""Version directories on disk: which there are, and whether anybody still writes them."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from attnexport.core.limits import MAX_VERSION

_SETTLED = 2.0  # seconds without a change after which nobody is taken to be writing
_DIGITS = 19  # of the largest int64


def versions_on_disk(base_path: Path, tell: Callable[[str], None]) -> dict[int, Path]:
    """Directories whose names are numbers, by number; `00000123` is 123.

    Args:
        base_path: Where they are.
        tell: Told of what is passed over because nobody can say what it is.

    Raises:
        OSError: where there is no base path, or it cannot be read.
    """
    found: dict[int, Path] = {}
    with os.scandir(base_path) as entries:
        for entry in entries:
            number = _number(entry.name)
            try:
                if number is not None and entry.is_dir():
                    found[number] = Path(entry.path)
            except OSError as error:  # a link to itself
                tell(f"{entry.path} is passed over: {error.strerror}")
    return found


def _number(name: str) -> int | None:
    if not (name.isascii() and name.isdecimal()) or len(name.lstrip("0")) > _DIGITS:
        return None
    number = int(name)
    return number if number <= MAX_VERSION else None


Fingerprint = tuple[tuple[str, int, int], ...]


def fingerprint(path: Path) -> Fingerprint:
    """Name, size and time of change (ns) of everything below a path; equal where nothing has changed."""
    return tuple(sorted(_entries(str(path))))


def _entries(top: str) -> Iterator[tuple[str, int, int]]:
    entered: set[tuple[int, int]] = set()
    paths = [top]  # rather than recursion, which directories can be too deep for
    while paths:
        path = paths.pop()
        try:
            # Not the time of modification: copies often keep that.
            status = os.stat(path)
            yield path, status.st_size, status.st_ctime_ns
            directory = status.st_dev, status.st_ino
            if not stat.S_ISDIR(status.st_mode) or directory in entered:  # by a link to where it stands
                continue
            entered.add(directory)
            with os.scandir(path) as entries:
                paths += sorted(entry.path for entry in entries)
        except OSError:
            continue  # taken away between two looks, which the next one shows; or not to be read, which the load says


def is_settled(now: Fingerprint, before: Fingerprint | None) -> bool:
    """Whether nobody writes there: it looks as before, or has not changed for a while."""
    newest = max((changed for _, _, changed in now), default=0)
    return now == before or time.time_ns() - newest > _SETTLED * 1e9
