"""Whether arriving messages take the memory of the machine or the container.

gRPC keeps what has come of each message, has no limit for all of them in Python, and does not say how much it is. The
process's own growth since the oldest waiting call began does, without that of models that were loaded meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
_PER_BYTE, _FIXED = 3, 64 << 20  # bytes that a model takes at most for each byte of its files, and besides


class Models:
    """How much of the process's growth was models that were loaded, less those that were freed.

    What arrives while a model is loaded cannot be told from it, so a model counts for no more than its files explain.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._grown = 0  # bytes, of all that has ended
        self._running, self._begin = 0, 0  # loads and frees that overlap, and bytes of the process when they began
        self._least, self._most = 0, 0  # bytes by which these may grow it

    @contextmanager
    def changing(self, size: int, *, is_freed: bool = False) -> Iterator[None]:
        """Load or free a model.

        Args:
            size: The bytes of its files.
            is_freed: Whether it is freed.
        """
        most = _FIXED + _PER_BYTE * size
        with self._lock:
            if not self._running:
                self._begin, self._least, self._most = _used(), 0, 0
            self._running += 1
            self._least, self._most = (self._least - most, self._most) if is_freed else (self._least, self._most + most)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._grown += self._growth(_used())

    def grown(self, used: int) -> int:
        """The bytes that models have added to a process of `used` bytes."""
        with self._lock:
            return self._grown + (self._growth(used) if self._running else 0)

    def _growth(self, used: int) -> int:
        return max(self._least, min(self._most, used - self._begin))


MODELS = Models()  # of the process, as its memory is


class Arrivals:
    """The memory of messages that are arriving."""

    def __init__(self) -> None:
        self._idle: int | None = None  # bytes of the process when no call waited
        self._idle_others = 0  # those beside models
        # By when a call began to wait: bytes of the process beside models when it was first seen. One for all calls
        # would count what grew long ago as their messages, as long as some call waits at any time.
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
        used = _used()
        others = used - MODELS.grown(used)
        if self._idle is None:
            self._idle, self._idle_others = used, others
        self._before = {since: self._before.get(since, others) for since in waiting}
        if waiting:
            left = bytes_left()
            # Of calls that overlap, the oldest does not count what those before it have sent.
            return others - self._before[min(waiting)] > left or (left < _SHORT and others - self._idle_others > left)
        grown, self._idle = used - self._idle, None
        if grown > _LARGE:
            give_back(with_cycles=False)
        return False


def _used() -> int:
    """The bytes of the process; 0 where the system does not say."""
    try:
        return int(_PROCESS.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, LookupError):
        return 0


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
