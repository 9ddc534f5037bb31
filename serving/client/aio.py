"""The asyncio client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from attnexport.core.signature import DEFAULT_SIGNATURE, Array

from .examples import Examples, Features
from .inputs import Inputs
from .operations import InferenceResult
from .options import ClientOptions, Compression, Retry, Tls, check_addresses
from .predict import OnBatch
from .responses import ClassScore, ModelMetadata, Prediction, VersionStatus
from .run_asyncio import AsyncSession
from .transport import AsyncTransport


class AsyncClient:
    """A client of TF Serving for asyncio: the arguments and methods of `Client`, to be awaited.

    It belongs to the event loop of its first call. Cancelling a task cancels its call.

    Example:
        >>> import asyncio
        >>> import numpy as np
        >>> from attnexport.serving import AsyncClient, MockTransport
        >>> async def main():
        ...     double = MockTransport(lambda request: {"y": 2 * request.inputs["x"]})
        ...     async with AsyncClient("127.0.0.1:8500", model="double", transport=double) as client:
        ...         calls = [client.predict({"x": np.array([number])}) for number in range(3)]
        ...         return [prediction["y"].tolist() for prediction in await asyncio.gather(*calls)]
        >>> asyncio.run(main())
        [[0], [2], [4]]
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        model: str | None = None,
        timeout: float = 30.0,
        connect_timeout: float = 5.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        tls: Tls | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        compression: Compression | None = None,
        keepalive: float = 300.0,
        check: bool = False,
        max_batch: int | None = None,
        max_concurrent: int = 4,
        transport: AsyncTransport | None = None,
    ) -> None:
        self.addresses = check_addresses(addresses)
        self.options = ClientOptions(
            model, timeout, connect_timeout, retry, tls, metadata or {}, compression, keepalive, check, max_batch,
            max_concurrent,
        )  # fmt: skip
        self._session = AsyncSession(self.addresses, self.options, transport)

    async def predict(
        self,
        inputs: Inputs,
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
        return await self._session.run(
            self._session.operations.predict(
                inputs, model, signature, version, label, outputs, timeout, max_batch, check, on_batch
            )
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
        """Classify examples, as `Client.classify` does."""
        return await self._session.run(
            self._session.operations.classify(examples, model, signature, version, label, context, timeout)
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
    ) -> Array:
        """Compute a number for each example, as `Client.regress` does: `[n]` float32."""
        return await self._session.run(
            self._session.operations.regress(examples, model, signature, version, label, context, timeout)
        )

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
    ) -> list[InferenceResult]:
        """Run several signatures over the same examples, as `Client.multi_inference` does."""
        return await self._session.run(
            self._session.operations.multi_inference(examples, tasks, model, version, label, context, timeout)
        )

    async def metadata(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelMetadata:
        """Ask for the signatures of a model, and its version."""
        return await self._session.run(self._session.operations.metadata(model, version, label, timeout))

    async def status(
        self, *, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """Ask for the state of each version of a model, or of one version; the newest first."""
        return await self._session.run(self._session.operations.status(model, version, timeout))

    async def list_models(self, *, timeout: float | None = None) -> dict[str, list[VersionStatus]]:
        """Ask an embedded server for its models, as `Client.list_models` does."""
        return await self._session.run(self._session.operations.list_models(timeout))

    async def reload_config(self, config: str | Mapping[str, str | Path], *, timeout: float | None = None) -> None:
        """Replace the configuration of every server, as `Client.reload_config` does."""
        await self._session.run(self._session.operations.reload_config(config, timeout))

    async def wait_until_ready(
        self, *, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> None:
        """Wait until a version of the model is AVAILABLE, or, if no model is named, until a server answers."""
        await self._session.run(self._session.operations.wait_until_ready(model, version, timeout))

    async def close(self) -> None:
        """Close the connections; calls in progress fail."""
        await self._session.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
