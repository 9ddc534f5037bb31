"""The threads of gRPC's calls: a few run requests, more wait for messages while clients are slow to send them."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from .memory import Arrivals

_LOG = logging.getLogger(__name__)
_LAST_SECONDS = 1.0  # for threads to end; a call that never does keeps its own, and the process does not wait for it
_TICK = 0.02  # seconds from one look at the threads that wait to the next
_SLOW = 0.01  # seconds without a message after which a thread counts as waiting
_MAX_SPARE = 16  # threads more than wait and run, so that the next slow clients find one
_MAX_SLOW = 256  # threads that wait for messages; then the calls that have waited longest make room
_SAFE = 0.25  # seconds that a call may wait before it makes room


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


# What ends when the task does, when gRPC handed it over, and the call; None ends a thread.
_Item: TypeAlias = tuple[Ending, float, Callable[..., Any], tuple[Any, ...]] | None


class Tasks:
    """A queue that gives the oldest task.

    Attributes:
        is_flooded: Whether most tasks are calls that send nothing. The oldest and the newest are then given in turn,
            since what is old is mostly the flood itself.
    """

    def __init__(self) -> None:
        self.is_flooded = self._was_newest = False
        self._items: deque[_Item] = deque()
        self._count: queue.SimpleQueue[None] = queue.SimpleQueue()  # of items, to wait for

    def put(self, item: _Item) -> None:
        self._items.append(item)
        self._count.put(None)

    def get(self) -> _Item:
        self._count.get()
        self._was_newest = self.is_flooded and not self._was_newest
        return self._items.pop() if self._was_newest else self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)


class Task(threading.local):
    """What a thread works at.

    Attributes:
        since: When gRPC handed the task over.
        waited: The seconds from then until it ran; 0 in other threads than a pool's.
        is_running: Whether it counts as running.
    """

    since = 0.0
    waited = 0.0
    is_running = False


class Workers(ThreadPoolExecutor):
    """A number of threads that run, and as many more as wait for messages.

    gRPC hands a call over when its headers come, before its message, and waits in the thread. If the number of threads
    were fixed, a few clients that send nothing would keep everybody else from being answered. So a call takes its
    message by `receive`, which counts it as waiting, and then waits for one of `count` places to run. While nobody is
    slow there are `count` threads, and the places cost nothing.

    A ThreadPoolExecutor does more for each task (a future with a condition, locks, a semaphore), which costs as much as
    a small model computes. It is one in name only: gRPC takes no others for methods that have threads of their own.

    If the messages that are arriving take more memory than is left, the calls that have waited longest are ended.

    Args:
        count: How many tasks run at once.
        message_seconds: How long a call may wait for its message until it is ended.

    Attributes:
        task: The task of the calling thread.
    """

    def __init__(self, count: int, message_seconds: float = math.inf) -> None:
        self._tasks = Tasks()
        self._count, self._message_seconds = count, message_seconds
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()  # a semaphore, and faster than Python's
        for _ in range(count):
            self._places.put(None)
        # By thread: since when it has waited, and what ends its call.
        self._waiting: dict[int, tuple[float, Callable[[], object] | None]] = {}
        self.task = Task()
        self._lock = threading.Lock()  # of what follows
        self._threads: set[threading.Thread] = set()
        self._alive, self._wanted, self._ended = 0, count, False
        self._grow()
        self._look, self._arrivals = threading.Event(), Arrivals()
        threading.Thread(target=self._watch, name="grpc-slow", daemon=True).start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        ending = Ending()
        self._tasks.put((ending, time.monotonic(), partial(function, **kwargs) if kwargs else function, args))
        if not self._look.is_set():
            self._look.set()
        return ending

    def receive(self, messages: Iterator[bytes], end_call: Callable[[], object]) -> bytes | None:
        """Wait for the message of a call, then for a place to run, which is given back when the task ends.

        Args:
            messages: The call's messages.
            end_call: Ends the call. Called if its message does not come in time, or if too many calls wait.

        Returns:
            The message; None if the client sent none.

        Raises:
            grpc.RpcError: if the call ended before its message came.
        """
        me, task = threading.get_ident(), self.task
        self._waiting[me] = time.monotonic(), end_call
        try:
            message = next(messages, None)
        finally:
            del self._waiting[me]
        self._places.get()
        task.is_running = True
        task.waited = time.monotonic() - task.since
        return message

    @contextmanager
    def not_running(self) -> Iterator[None]:
        """Give the place to run back, in order to wait for something that may never happen."""
        me = threading.get_ident()
        self._waiting[me] = -math.inf, None
        self._give_back()
        try:
            yield
        finally:
            self._waiting.pop(me, None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._ended, self._wanted, threads = True, 0, list(self._threads)
        self._look.set()
        for _ in threads:
            self._tasks.put(None)
        until = time.monotonic() + (_LAST_SECONDS if wait else 0)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        mine = self.task
        while (task := self._tasks.get()) is not None or not self._leave():
            if task is None:
                continue
            ending, mine.since, function, args = task
            try:
                function(*args)
            except Exception:  # gRPC's own: handlers end every failure in a status
                _LOG.exception("a request ended without an answer")
            self._give_back()
            ending.end()
            del task, ending, function, args
            if self._alive > self._wanted and self._leave():
                return

    def _give_back(self) -> None:
        if self.task.is_running:
            self.task.is_running = False
            self._places.put(None)

    def _leave(self) -> bool:
        """Whether the calling thread is one too many; it then ends."""
        with self._lock:
            if self._alive <= self._wanted:
                return False
            self._alive -= 1
            self._threads.discard(threading.current_thread())
            return True

    def _grow(self) -> None:
        with self._lock:
            while self._alive < self._wanted:
                thread = threading.Thread(target=self._work, name=f"grpc-{self._alive}", daemon=True)
                thread.start()
                self._alive += 1
                self._threads.add(thread)

    def _watch(self) -> None:
        """Keep as many threads as run and wait, as long as there are tasks."""
        while self._look.wait() and not self._ended:
            time.sleep(_TICK)
            waiting = self._waiting.copy()  # in one step; its threads go on
            self._fit([each for each in waiting.values() if time.monotonic() - each[0] > _SLOW])
            if not waiting and not self._tasks:
                self._look.clear()
                if self._waiting or self._tasks:  # since then
                    self._look.set()

    def _fit(self, slow: list[tuple[float, Callable[[], object] | None]]) -> None:
        now = time.monotonic()
        with self._lock:
            if not self._ended:
                self._wanted = self._count + min(len(slow), _MAX_SLOW) + min(len(slow), _MAX_SPARE)
        try:
            self._grow()
        except RuntimeError:  # no more threads can be had; those that wait make room
            room = len(self._tasks)
        else:
            room = len(self._tasks) if len(slow) >= _MAX_SLOW else 0
        # Those without an end wait for something else than a message.
        if self._arrivals.take_too_much([since for since, end_call in slow if end_call is not None]):
            room = max(room, 1)
        self._tasks.is_flooded = room >= _MAX_SLOW
        safe = _SLOW if self._tasks.is_flooded else _SAFE
        for since, end_call in sorted(slow, key=lambda each: each[0]):
            if end_call is None:
                continue
            if now - since > self._message_seconds or (room > 0 and now - since > safe):
                end_call()
                room -= 1
        if not self._tasks:
            for _ in range(self._alive - self._wanted):
                self._tasks.put(None)  # to those that have nothing to do
