"""The replies that gRPC holds until their clients have read them, and an end to those that nobody reads."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

_MAX_BYTES = 1 << 28  # of all, beside two of the largest: then the oldest make room
_SAFE = 1.0  # seconds that a reply may wait before it makes room
_SLOWEST = 100_000  # bytes a second of a client that still reads
_CALL_BYTES = 1024  # of a call beside its reply
_TICK = 0.25  # seconds from one look to the next


class Replies:
    """The replies of calls that are not over yet.

    A handler that has returned is done for gRPC's Python; its core keeps the reply until the client's connection has
    taken it. A client that reads nothing, or gives its streams no window, would fill the server's memory. A call calls
    its callbacks when it is over, so a reply that was handed over is unread until then.

    Args:
        seconds: How long a reply may wait for its client, beside a second for each 100 kB of it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._numbers = itertools.count()
        self._lock = threading.Lock()  # of what follows
        # Since when it waits, its size, and what ends its call; in order of age.
        self._unread: dict[int, tuple[float, int, Callable[[], object]]] = {}
        self._bytes = self._largest = 0
        self._look, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, name="grpc-unread", daemon=True).start()

    def hand_over(self, size: int, context: Any) -> None:
        """A call's handler is about to return a reply of this many bytes, or an error.

        Args:
            size: The bytes of the reply.
            context: The call's `grpc.ServicerContext`.
        """
        number, size = next(self._numbers), size + _CALL_BYTES
        with self._lock:
            self._unread[number] = time.monotonic(), size, context.cancel
            self._bytes += size
            self._largest = max(self._largest, size)
            is_full = self._bytes > self._most
        if not context.add_callback(partial(self._forget, number)):  # it is over
            self._forget(number)
        if is_full:
            self._end_unread()
        if not self._look.is_set():
            self._look.set()

    def close(self) -> None:
        """Look no more: the server ends."""
        self._ended.set()
        self._look.set()

    @property
    def _most(self) -> int:
        return _MAX_BYTES + 2 * self._largest

    def _forget(self, number: int) -> None:
        with self._lock:
            _, size, _ = self._unread.pop(number, (0, 0, None))
            self._bytes -= size

    def _watch(self) -> None:
        while self._look.wait() and not self._ended.wait(_TICK):
            self._end_unread()
            if not self._unread:
                self._look.clear()
                if self._unread:  # since then
                    self._look.set()

    def _end_unread(self) -> None:
        """End the calls whose replies have waited for too long, and the oldest if all together are too large."""
        now, ending = time.monotonic(), []
        with self._lock:
            for number, (since, size, end_call) in self._unread.items():
                waited = now - since
                if waited > self._seconds + size / _SLOWEST or (waited > _SAFE and self._bytes > self._most):
                    ending.append((number, end_call))
                    self._bytes -= size
            for number, _ in ending:
                del self._unread[number]
        for _, end_call in ending:
            end_call()
