"""Whether arriving messages take the memory of the machine or the container.

gRPC keeps what has come of each message, has no limit for all of them in Python, and does not say how much it is. The
process's own growth since the call that has waited longest began does, with all that grew besides.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from attnexport.core.process import give_back

_MEMORY = Path("/proc/meminfo")
_PROCESS = Path("/proc/self/statm")
# Of a container: limit, use, and the file that says how much of the use can be had back.
_GROUPS = tuple(
    tuple(Path("/sys/fs/cgroup", name) for name in names)
    for names in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    )
)
_LARGE = 64 << 20  # bytes that are worth returning
_SHORT = 512 << 20  # bytes left, of which calls that come one after another must not take the rest
_CACHES = ("inactive_file", "total_inactive_file")


class Arrivals:
    """The memory of messages that are arriving."""

    def __init__(self) -> None:
        self._idle: int | None = None  # bytes of the process when no call waited
        # By when a call began to wait: bytes of the process when it was first seen. One for all calls would count a
        # model that was loaded long ago as their messages, as long as some call waits at any time.
        self._before: dict[float, int] = {}

    def take_too_much(self, waiting: Sequence[float]) -> bool:
        """Whether they have taken more than is left.

        Args:
            waiting: Since when each call has waited that waits for its message now.
        """
        try:
            return self._take_too_much(waiting)
        except (OSError, ValueError, LookupError):  # another system than Linux, or one that hides its memory
            return False

    def _take_too_much(self, waiting: Sequence[float]) -> bool:
        if self._idle is None and not waiting:
            return False
        used = int(_PROCESS.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self._idle = used if self._idle is None else self._idle
        self._before = {since: self._before.get(since, used) for since in waiting}
        if waiting:
            left = bytes_left()
            # Of calls that overlap, the oldest does not count what those before it have sent.
            return used - self._before[min(waiting)] > left or (left < _SHORT and used - self._idle > left)
        grown, self._idle = used - self._idle, None
        if grown > _LARGE:
            give_back(with_cycles=False)
        return False


def bytes_left() -> int:
    """The memory that can still be had, of the machine or of the container.

    Raises:
        OSError: if the system does not say.
        KeyError: if it says other things.
    """
    left = _values(_MEMORY)["MemAvailable:"] << 10
    for limit, use, statistics in _GROUPS:
        try:
            cached = _values(statistics)
            inside = int(limit.read_text()) - int(use.read_text()) + max(cached.get(name, 0) for name in _CACHES)
        except (OSError, ValueError):  # no such group, or no limit
            continue
        left = min(left, max(0, inside))
    return left


def _values(path: Path) -> dict[str, int]:
    """The lines of a file of names and numbers."""
    return {words[0]: int(words[1]) for line in path.read_text().splitlines() if len(words := line.split()) > 1}
