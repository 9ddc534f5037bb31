"""A client at work: its plans carried out by threads that block."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from attnexport.core.errors import ArgumentError, ServingError

from .grpc_transport import GrpcTransport
from .operations import Operations
from .options import ClientOptions
from .plan import Concurrent, Effect, Plan, Sleep
from .transport import Call, PendingReply, Transport

Result = TypeVar("Result")
_Start = Callable[[Call], PendingReply]
_Proceed = Callable[[Plan[Any]], Effect]


class Session:
    """The state of a client: its operations, and the transport that carries them.

    Pickled are the addresses, the options and a transport that was given; gRPC's is made anew.
    """

    def __init__(self, addresses: tuple[str, ...], options: ClientOptions, transport: Transport | None) -> None:
        self._arguments = addresses, options, transport
        self._transport: Transport = transport or GrpcTransport(addresses, **options.of_connections())
        self.operations = Operations(addresses, options)
        self._closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Session, self._arguments

    def run(self, plan: Plan[Result]) -> Result:
        """Carry out a plan.

        Raises:
            ArgumentError: if the client is closed.
        """
        if self._closed:
            raise ArgumentError("the client is closed; make another one")
        return run(plan, self._transport)

    def close(self) -> None:
        self._closed = True
        self._transport.close()


def run(plan: Plan[Result], transport: Transport) -> Result:
    """Carry out a plan; its result, or what it raises."""
    try:
        effect = next(plan)
        while True:
            try:
                result = _perform(effect, transport)
            except ServingError as error:
                effect = plan.throw(error)
            else:
                effect = plan.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        plan.close()


def _perform(effect: Effect, transport: Transport) -> Any:
    match effect:
        case Call():
            return transport.send(effect)
        case Sleep():
            return time.sleep(effect.seconds)
        case Concurrent():
            start: _Start | None = getattr(transport, "start", None)
            if start is not None:
                return _run_concurrently(effect, start)
            threads = ThreadPoolExecutor(effect.limit)
            try:
                return _run_concurrently(effect, lambda call: threads.submit(transport.send, call))
            finally:
                threads.shutdown(wait=False, cancel_futures=True)


def _run_concurrently(concurrent: Concurrent, start: _Start) -> list[Any]:
    """The results of the plans, in their order.

    Raises:
        ServingError: the first failure. Calls in progress are then cancelled, as they are on an interruption.
    """
    run = _ConcurrentRun(concurrent, start)
    waiting = iter(range(len(concurrent.plans)))
    try:
        while True:
            while run.active < concurrent.limit and (index := next(waiting, None)) is not None:
                run.step(index, next)
            if not run.active:
                return run.results
            index = run.next_ready()
            pending = run.in_progress.pop(index, None)
            try:
                reply = None if pending is None else pending.result()
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


class _ConcurrentRun:
    """The plans in progress: each waits for a call, or sleeps."""

    def __init__(self, concurrent: Concurrent, start: _Start) -> None:
        self._plans, self._start = concurrent.plans, start
        self.results: list[Any] = [None] * len(self._plans)
        self.in_progress: dict[int, PendingReply] = {}
        self._asleep: list[tuple[float, int]] = []
        self._ended: SimpleQueue[int] = SimpleQueue()

    @property
    def active(self) -> int:
        return len(self.in_progress) + len(self._asleep)

    def step(self, index: int, proceed: _Proceed) -> None:
        """Carry a plan on to its next effect, or its end."""
        try:
            effect = proceed(self._plans[index])
        except StopIteration as end:
            self.results[index] = end.value
            return
        if isinstance(effect, Call):
            pending = self._start(effect)
            self.in_progress[index] = pending
            pending.add_done_callback(lambda _: self._ended.put(index))
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
        for pending in self.in_progress.values():
            pending.cancel()
        for plan in self._plans:
            plan.close()
