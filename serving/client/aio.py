"""The asyncio shell of the client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio
import numpy as np

from attnexport.core.errors import ArgumentError, ServingError
from attnexport.core.signature import DEFAULT_SIGNATURE

from .base import BaseClient, Inferred
from .channels import COMPRESSIONS, channel_options, credentials, headers
from .errors import of_error
from .examples import Examples, Features
from .plan import Call, Effect, Plan, Sleep, Together
from .predict import OnBatch
from .responses import ClassScore, ModelMetadata, Prediction, VersionStatus

Result = TypeVar("Result")


class AsyncClient(BaseClient):
    """A client of TF Serving for asyncio: the methods and arguments of `Client`, to be awaited.

    It belongs to the event loop of its first call. Cancelling a task cancels its call.
    """

    def __init__(self, addresses: str | Sequence[str], **options: Any) -> None:
        super().__init__(addresses, **options)
        self._credentials = credentials(self.options)
        self._headers = headers(self.options)
        self._channels: list[grpc.aio.Channel] = []
        self._methods: dict[tuple[int, str], Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def predict(
        self,
        inputs: Any,
        *,
        model: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        outputs: Sequence[str] = (),
        timeout: float | None = None,
        max_batch: int | None = None,
        check: bool | None = None,
        on_batch: OnBatch | None = None,
    ) -> Prediction:
        """Run a signature, as `Client.predict` does."""
        return await self._run(
            self._predict(inputs, model, signature, version, label, outputs, timeout, max_batch, check, on_batch)
        )

    async def classify(
        self,
        examples: Examples,
        *,
        model: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        context: Features | None = None,
        timeout: float | None = None,
    ) -> list[list[ClassScore]]:
        """The classes of each example, as `Client.classify` gives them."""
        return await self._run(
            self._classify(examples, context, self.target(model, version, label, signature), timeout)
        )

    async def regress(
        self,
        examples: Examples,
        *,
        model: str | None = None,
        signature: str = DEFAULT_SIGNATURE,
        version: int | None = None,
        label: str | None = None,
        context: Features | None = None,
        timeout: float | None = None,
    ) -> np.ndarray[Any, Any]:
        """A number for each example: `[n]` float32."""
        return await self._run(self._regress(examples, context, self.target(model, version, label, signature), timeout))

    async def multi_inference(
        self,
        examples: Examples,
        tasks: Sequence[tuple[str, str]],
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        context: Features | None = None,
        timeout: float | None = None,
    ) -> list[Inferred]:
        """Several signatures over the same examples, as `Client.multi_inference` runs them."""
        return await self._run(
            self._multi_inference(examples, tasks, context, self.target(model, version, label), timeout)
        )

    async def metadata(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelMetadata:
        """The signatures of a model, and its version."""
        return await self._run(self._metadata(model, version, label, timeout))

    async def status(
        self, *, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """The state of each version of a model, or of one, the newest first."""
        return await self._run(self._status(model, version, timeout))

    async def reload_config(self, config: str | Mapping[str, str | Path], *, timeout: float | None = None) -> None:
        """Replace the configuration of every server, as `Client.reload_config` does."""
        await self._run(self._reload_config(config, timeout))

    async def wait_until_ready(
        self, *, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> None:
        """Return when a version of the model is AVAILABLE; where no model is named, when a server answers."""
        await self._run(self._wait_until_ready(model, version, timeout))

    async def close(self) -> None:
        """Close the connections; calls under way fail."""
        self._closed = True
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, plan: Plan[Result]) -> Result:
        if self._closed:
            raise ArgumentError("the client is closed; make another one")
        self._connect()
        try:
            effect = next(plan)
            while True:
                try:
                    result = await self._perform(effect)
                except ServingError as error:
                    effect = plan.throw(error)
                else:
                    effect = plan.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            plan.close()

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Call():
                try:
                    return await self._method(effect)(effect.request, timeout=effect.timeout, metadata=self._headers)
                except grpc.RpcError as error:
                    raise of_error(error, self.balancer.addresses[effect.address], effect.timeout) from error
                except grpc.aio.UsageError as error:
                    raise ArgumentError("the client was closed while it was in use") from error
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    if self._closed and task is not None and not task.cancelling():
                        raise ArgumentError("the client was closed while it was in use") from error
                    raise
            case Sleep():
                return await asyncio.sleep(effect.seconds)
            case Together():
                return await self._together(effect)

    async def _together(self, together: Together) -> list[Any]:
        free = asyncio.Semaphore(together.limit)

        async def run(plan: Plan[Any]) -> Any:
            async with free:
                return await self._run(plan)

        tasks = [asyncio.create_task(run(plan)) for plan in together.plans]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for plan in together.plans:
                plan.close()

    def _connect(self) -> None:
        """Open the channels in the running loop: gRPC binds them to it."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, arguments = loop, channel_options(self.options)
            compression = COMPRESSIONS[self.options.compression]
            self._channels = [
                grpc.aio.insecure_channel(address, arguments, compression)
                if self._credentials is None
                else grpc.aio.secure_channel(address, self._credentials, arguments, compression)
                for address in self.balancer.addresses
            ]
        elif self._loop is not loop:
            raise ArgumentError("an AsyncClient belongs to the event loop of its first call; make one for each loop")

    def _method(self, call: Call) -> Any:
        key = call.address, call.path
        if key not in self._methods:
            self._methods[key] = self._channels[call.address].unary_unary(call.path)
        return self._methods[key]
