"""Whether arriving messages take the memory of the machine or the container.

gRPC keeps what has come of each message, has no limit for all of them in Python, and does not say how much it is. The
process's own growth since calls began to wait does.
"""

from __future__ import annotations

import os
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
_CACHES = ("inactive_file", "total_inactive_file")


class Arrivals:
    """The memory of messages that are arriving."""

    def __init__(self) -> None:
        self._before: int | None = None  # bytes of the process when calls began to wait

    def take_too_much(self, is_waiting: bool) -> bool:
        """Whether they have taken more than is left.

        Args:
            is_waiting: Whether any call waits for its message now.
        """
        try:
            return self._take_too_much(is_waiting)
        except (OSError, ValueError, IndexError):  # another system than Linux
            return False

    def _take_too_much(self, is_waiting: bool) -> bool:
        if self._before is None and not is_waiting:
            return False
        used = int(_PROCESS.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self._before = used if self._before is None else self._before
        taken = used - self._before
        if is_waiting:
            return taken > bytes_left()
        self._before = None
        if taken > _LARGE:
            give_back(with_cycles=False)
        return False


def bytes_left() -> int:
    """The memory that can still be had, of the machine or of the container.

    Raises:
        OSError: if the system does not say.
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
