"""The threads that answer REST requests for an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

from .rest_api import Answer

End = Callable[[Answer | None, BaseException | None], object]
_Task = tuple[Callable[[], Answer], asyncio.AbstractEventLoop, End]


class RestWorkers:
    """At most `count` threads, started as they are needed.

    A ThreadPoolExecutor and the futures of asyncio over it do the same for five times the cost, which is half of what a
    small request takes.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._idle: queue.SimpleQueue[None] = queue.SimpleQueue()  # an item for each thread without a task
        self._threads: list[threading.Thread] = []

    def run(self, function: Callable[[], Answer], loop: asyncio.AbstractEventLoop, end: End) -> None:
        """Run a function in a thread, then `end` with its answer or its exception in the loop.

        Raises:
            RuntimeError: if there is no thread, and none can be started.
        """
        try:
            self._idle.get_nowait()
        except queue.Empty:
            self._start()
        self._tasks.put((function, loop, end))

    def shutdown(self) -> None:
        """Wait until everything that was asked for has run."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        if len(self._threads) >= self._count:
            return
        thread = threading.Thread(target=self._work, name=f"{self._name}_{len(self._threads)}")
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            function, loop, end = task
            answer: Answer | None = None
            error: BaseException | None = None
            try:
                answer = function()
            except BaseException as raised:
                error = raised
            self._idle.put(None)
            with contextlib.suppress(RuntimeError):  # the loop has ended without it
                loop.call_soon_threadsafe(end, answer, error)
            del task, function, loop, end, answer, error


def settle(waiting: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
    """Give a future its result, unless nobody waits for it any more."""
    if waiting.done():
        return
    if error is None:
        waiting.set_result(answer)
    else:
        waiting.set_exception(error)
