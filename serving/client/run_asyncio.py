"""A client at work: its plans carried out by asyncio tasks."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from attnexport.core.errors import ArgumentError, ServingError

from .grpc_transport import AsyncGrpcTransport
from .operations import Operations
from .options import ClientOptions
from .plan import Concurrent, Effect, Plan, Sleep
from .transport import AsyncTransport, Call

Result = TypeVar("Result")


class AsyncSession:
    """The state of a client: its operations, and the transport that carries them.

    Pickled are the addresses, the options and a transport that was given; gRPC's is made anew.
    """

    def __init__(self, addresses: tuple[str, ...], options: ClientOptions, transport: AsyncTransport | None) -> None:
        self._arguments = addresses, options, transport
        self._transport: AsyncTransport = transport or AsyncGrpcTransport(addresses, **options.of_connections())
        self.operations = Operations(addresses, options)
        self._closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return AsyncSession, self._arguments

    async def run(self, plan: Plan[Result]) -> Result:
        """Carry out a plan.

        Raises:
            ArgumentError: if the client is closed.
        """
        if self._closed:
            raise ArgumentError("the client is closed; make another one")
        return await run(plan, self._transport)

    async def close(self) -> None:
        self._closed = True
        await self._transport.close_async()


async def run(plan: Plan[Result], transport: AsyncTransport) -> Result:
    """Carry out a plan; its result, or what it raises."""
    try:
        effect = next(plan)
        while True:
            try:
                result = await _perform(effect, transport)
            except ServingError as error:
                effect = plan.throw(error)
            else:
                effect = plan.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        plan.close()


async def _perform(effect: Effect, transport: AsyncTransport) -> Any:
    match effect:
        case Call():
            return await transport.send_async(effect)
        case Sleep():
            return await asyncio.sleep(effect.seconds)
        case Concurrent():
            return await _run_concurrently(effect, transport)


async def _run_concurrently(concurrent: Concurrent, transport: AsyncTransport) -> list[Any]:
    slots = asyncio.Semaphore(concurrent.limit)

    async def run_in_turn(plan: Plan[Any]) -> Any:
        async with slots:
            return await run(plan, transport)

    tasks = [asyncio.create_task(run_in_turn(plan)) for plan in concurrent.plans]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for plan in concurrent.plans:
            plan.close()
