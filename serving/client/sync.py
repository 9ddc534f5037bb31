"""The blocking shell of the client."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np

from attnexport.core.errors import ArgumentError, ServingError
from attnexport.core.signature import DEFAULT_SIGNATURE

from .base import BaseClient, Inferred
from .channels import COMPRESSIONS, channel_options, credentials, headers
from .concurrent import run_together
from .errors import of_error
from .examples import Examples, Features
from .plan import Call, Effect, Plan, Sleep, Together
from .predict import OnBatch
from .responses import ClassScore, ModelMetadata, Prediction, VersionStatus

Result = TypeVar("Result")


class Client(BaseClient):
    """A client of TF Serving, for any number of threads.

    Args:
        addresses: `HOST:PORT` of a server, or several that hold the same models and are asked in turn; one that dies
            is passed over.
        options: The fields of ClientOptions.

    Raises:
        ArgumentError: for an address or option that is none.
        ContentError: where certificates cannot be read.
    """

    def __init__(self, addresses: str | Sequence[str], **options: Any) -> None:
        super().__init__(addresses, **options)
        given, arguments = credentials(self.options), channel_options(self.options)
        self._channels = [
            grpc.insecure_channel(address, arguments, COMPRESSIONS[self.options.compression])
            if given is None
            else grpc.secure_channel(address, given, arguments, COMPRESSIONS[self.options.compression])
            for address in self.balancer.addresses
        ]
        self._methods: dict[tuple[int, str], Any] = {}
        self._headers = headers(self.options)
        self._closed = False

    def predict(
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
        """Run a signature.

        Args:
            inputs: Arrays `[n, ...]` by input name, sent in the dtype that they have; lists and numbers take the
                signature's. Not a dict, it is the single input of the signature.
            model: The model; the client's own where None.
            signature: The signature.
            version: The version; the newest where None.
            label: The version that has this label.
            outputs: The outputs wanted; all where empty.
            timeout: Seconds that all of it may take; the client's where None.
            max_batch: The most samples in one call; larger inputs go in parts, several at once, and come back joined.
            check: Compare names, dtypes and shapes with the server's signature first.
            on_batch: Told the samples of each part that was answered.

        Returns:
            Read-only arrays by output name, strings as object arrays of bytes.

        Raises:
            ArgumentError: for arguments that show it.
            SamplesError: where `check` finds inputs that do not fit.
            CodecError: for an array that no tensor can hold.
            UnavailableError: where no server answers; after retries.
            DeadlineError: where the time is up.
            NotFoundError: for an unknown model or version, naming those there are.
            RefusedError: where the server refuses the request: an unknown signature, wrong inputs.
            ServingError: for any other failure.
        """
        return self._run(
            self._predict(inputs, model, signature, version, label, outputs, timeout, max_batch, check, on_batch)
        )

    def classify(
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
        """The classes of each example; examples are dicts from feature to values, or serialized tf.Example."""
        return self._run(self._classify(examples, context, self.target(model, version, label, signature), timeout))

    def regress(
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
        return self._run(self._regress(examples, context, self.target(model, version, label, signature), timeout))

    def multi_inference(
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
        """Several signatures over the same examples; a task is `("classify" or "regress", signature)`."""
        return self._run(self._multi_inference(examples, tasks, context, self.target(model, version, label), timeout))

    def metadata(
        self,
        *,
        model: str | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelMetadata:
        """The signatures of a model, and its version."""
        return self._run(self._metadata(model, version, label, timeout))

    def status(
        self, *, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> list[VersionStatus]:
        """The state of each version of a model, or of one, the newest first."""
        return self._run(self._status(model, version, timeout))

    def reload_config(self, config: str | Mapping[str, str | Path], *, timeout: float | None = None) -> None:
        """Replace the configuration of every server: base paths by model name, or a ModelServerConfig as text."""
        self._run(self._reload_config(config, timeout))

    def wait_until_ready(
        self, *, model: str | None = None, version: int | None = None, timeout: float | None = None
    ) -> None:
        """Return when a version of the model is AVAILABLE; where no model is named, when a server answers."""
        self._run(self._wait_until_ready(model, version, timeout))

    def close(self) -> None:
        """Close the connections; calls under way fail."""
        self._closed = True
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, plan: Plan[Result]) -> Result:
        if self._closed:
            raise ArgumentError("the client is closed; make another one")
        try:
            effect = next(plan)
            while True:
                try:
                    result = self._perform(effect)
                except ServingError as error:
                    effect = plan.throw(error)
                else:
                    effect = plan.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            plan.close()

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Call():
                try:
                    return self._method(effect)(effect.request, effect.timeout, self._headers)
                except grpc.RpcError as error:
                    raise of_error(error, self.balancer.addresses[effect.address], effect.timeout) from error
                except ValueError as error:
                    raise self._closed_meanwhile(error) from error
            case Sleep():
                return time.sleep(effect.seconds)
            case Together():
                return run_together(effect, self._start, self._finish)

    def _start(self, call: Call) -> Any:
        try:
            return self._method(call).future(call.request, call.timeout, self._headers)
        except ValueError as error:
            raise self._closed_meanwhile(error) from error

    def _finish(self, future: Any, call: Call) -> bytes:
        try:
            reply: bytes = future.result()
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            raise of_error(error, self.balancer.addresses[call.address], call.timeout) from error
        return reply

    def _method(self, call: Call) -> Any:
        key = call.address, call.path
        if key not in self._methods:
            self._methods[key] = self._channels[call.address].unary_unary(call.path)
        return self._methods[key]

    def _closed_meanwhile(self, error: ValueError) -> Exception:
        """What gRPC raises on a channel that another thread closed."""
        return ArgumentError("the client was closed while it was in use") if self._closed else error
