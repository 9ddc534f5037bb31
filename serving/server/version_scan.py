"""Version directories on disk: which there are, and whether their files still change."""

from __future__ import annotations

import itertools
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from attnexport.core.limits import MAX_VERSION

_SETTLED = 2.0  # seconds without a change after which files count as complete
_MAX_ENTRIES = 20_000  # of a version, that are looked at in each poll
_NUMBER = re.compile(r"\s*(?P<sign>[+-]?)0*(?P<digits>[0-9]{1,19})\s*", re.ASCII)


def versions_on_disk(base_path: Path, on_event: Callable[[str], None]) -> dict[int, Path]:
    """Directories whose names are numbers, by number; `00000123` is 123, and so is `+123`.

    Args:
        base_path: The directory of the versions.
        on_event: Called with a line of text for an entry that is skipped because it cannot be read.

    Raises:
        OSError: if the base path does not exist or cannot be read.
    """
    found: dict[int, Path] = {}
    with os.scandir(base_path) as entries:
        for entry in entries:
            number = _number(entry.name)
            try:
                if number is not None and entry.is_dir():
                    found[number] = Path(entry.path)
            except OSError as error:  # a link to itself
                on_event(f"{entry.path} is skipped: {error.strerror}")
    return found


def _number(name: str) -> int | None:
    """The version number that TF Serving reads from a name (absl::SimpleAtoi)."""
    match = _NUMBER.fullmatch(name)
    if match is None:
        return None
    number = int(f"{match['sign']}{match['digits']}")
    return number if -MAX_VERSION - 1 <= number <= MAX_VERSION else None


Fingerprint = tuple[tuple[str, int, int], ...]


def fingerprint(path: Path) -> Fingerprint:
    """Name, size and time of change (ns) of everything below a path; equal if nothing has changed.

    Of a directory that holds more than any model, by a link to a whole disk for one, only the first 20,000 count.
    """
    return tuple(sorted(_entries(str(path))))


def _entries(top: str) -> Iterator[tuple[str, int, int]]:
    entered: set[tuple[int, int]] = set()
    paths = [top]  # rather than recursion, which directories can be too deep for
    count = 0
    while paths and count < _MAX_ENTRIES:
        path = paths.pop()
        count += 1
        try:
            # Not the time of modification: copies often keep that.
            status = os.stat(path)
            yield path, status.st_size, status.st_ctime_ns
            directory = status.st_dev, status.st_ino
            if not stat.S_ISDIR(status.st_mode) or directory in entered:  # by a link to where it stands
                continue
            entered.add(directory)
            with os.scandir(path) as entries:
                paths += sorted(entry.path for entry in itertools.islice(entries, _MAX_ENTRIES))
        except OSError:
            continue  # taken away between two looks, which the next one shows; or not to be read, which the load says


def is_settled(now: Fingerprint, before: Fingerprint | None) -> bool:
    """Whether the files no longer change: they look as before, or have not changed for a while."""
    newest = max((changed for _, _, changed in now), default=0)
    return now == before or time.time_ns() - newest > _SETTLED * 1e9
