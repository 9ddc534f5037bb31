"""Plans carried out at the same time by a thread that blocks: gRPC's futures do the waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from typing import Any

from attnexport.core.errors import ServingError

from .plan import Call, Effect, Plan, Together

Start = Callable[[Call], Any]
Finish = Callable[[Any, Call], bytes]


def run_together(together: Together, start: Start, finish: Finish) -> list[Any]:
    """The results of the plans, in their order.

    Args:
        together: The plans.
        start: Starts a call, and gives its future.
        finish: The reply of a call whose future is done, or its ServingError.

    Raises:
        ServingError: the first failure. Calls under way are then cancelled, as they are on an interruption.
    """
    run = _Run(together.plans, start)
    waiting = iter(range(len(together.plans)))
    try:
        while True:
            while run.active < together.limit and (index := next(waiting, None)) is not None:
                run.step(index, next)
            if not run.active:
                return run.results
            index = run.next_ready()
            future, call = run.under_way.pop(index, (None, None))
            try:
                reply = None if future is None else finish(future, call)
            except ServingError as error:
                run.step(index, partial(_throw, error))
            else:
                run.step(index, partial(_send, reply))
    finally:
        run.cancel()


def _send(reply: bytes | None, plan: Plan[Any]) -> Effect:
    return plan.send(reply)


def _throw(error: ServingError, plan: Plan[Any]) -> Effect:
    return plan.throw(error)


class _Run:
    """The plans under way: in a call, or asleep."""

    def __init__(self, plans: Any, start: Start) -> None:
        self._plans, self._start = plans, start
        self.results: list[Any] = [None] * len(plans)
        self.under_way: dict[int, tuple[Any, Any]] = {}
        self._asleep: list[tuple[float, int]] = []
        self._ended: SimpleQueue[int] = SimpleQueue()

    @property
    def active(self) -> int:
        return len(self.under_way) + len(self._asleep)

    def step(self, index: int, proceed: Callable[[Plan[Any]], Effect]) -> None:
        """Carry a plan on to its next effect, or its end."""
        try:
            effect = proceed(self._plans[index])
        except StopIteration as end:
            self.results[index] = end.value
            return
        if isinstance(effect, Call):
            future = self._start(effect)
            self.under_way[index] = future, effect
            future.add_done_callback(lambda _: self._ended.put(index))
        else:
            seconds = getattr(effect, "seconds", 0.0)
            heappush(self._asleep, (time.monotonic() + seconds, index))

    def next_ready(self) -> int:
        """Wait for a call that ends, or a plan that wakes."""
        if not self._asleep:
            return self._ended.get()
        try:
            return self._ended.get(timeout=max(0.0, self._asleep[0][0] - time.monotonic()))
        except Empty:
            return heappop(self._asleep)[1]

    def cancel(self) -> None:
        """End whatever has not ended."""
        for future, _ in self.under_way.values():
            future.cancel()
        for plan in self._plans:
            plan.close()
