"""The threads that run gRPC's requests."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

_LOG = logging.getLogger(__name__)
_LAST_SECONDS = 1.0  # for threads to end; a call that never does keeps its own, and the process does not wait for it


class Ending:
    """That a task has ended: all that gRPC asks of a future."""

    __slots__ = ("_callbacks", "_ended")

    def __init__(self) -> None:
        self._callbacks: deque[Callable[[Any], object]] = deque()
        self._ended = False

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call it when the task has ended; immediately if it already has."""
        self._callbacks.append(callback)
        if self._ended:
            self.end()

    def end(self) -> None:
        """The task has ended; each callback is called once, by whichever thread takes it."""
        self._ended = True
        while self._callbacks:
            try:
                callback = self._callbacks.popleft()
            except IndexError:
                return
            callback(self)


class Task(threading.local):
    """What a thread works at.

    Attributes:
        waited: The seconds that it waited for the thread; 0 in other threads than a pool's.
    """

    waited = 0.0


class Workers(ThreadPoolExecutor):
    """A fixed number of threads and one queue.

    A ThreadPoolExecutor does more for each task (a future with a condition, locks, a semaphore), which costs as much as
    a small model computes. It is one in name only: gRPC takes no others for methods that have threads of their own.

    Attributes:
        task: The task of the calling thread.
    """

    def __init__(self, count: int) -> None:
        self._tasks: queue.SimpleQueue[tuple[Ending, float, Callable[..., Any], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        self.task = Task()
        self._threads = {threading.Thread(target=self._work, name=f"grpc-{n}", daemon=True) for n in range(count)}
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        ending = Ending()
        self._tasks.put((ending, time.monotonic(), partial(function, **kwargs) if kwargs else function, args))
        return ending

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + (_LAST_SECONDS if wait else 0)
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            ending, since, function, args = task
            self.task.waited = time.monotonic() - since
            try:
                function(*args)
                ending.end()
            except Exception:  # gRPC's own: handlers end every failure in a status
                _LOG.exception("a request ended without an answer")
                ending.end()
            del task, ending, function, args
