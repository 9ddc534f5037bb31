"""A transport without a server, for tests of code that uses a client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from numpy.typing import ArrayLike

from attnexport.core.errors import ArgumentError, NotFoundError, RefusedError, one_of
from attnexport.core.signature import Signature
from attnexport.core.signature_def import write_signature
from attnexport.serving.codec import (
    PredictCall,
    ServedModel,
    decode_predict_request,
    encode_predict_reply,
)
from attnexport.serving.messages import METHODS, SignatureDefMap

from .transport import Call

# PredictCall has the model, the inputs by name, and the names of the outputs to return (all if empty).
PredictFunction = Callable[[PredictCall], Mapping[str, ArrayLike]]
Handler = Callable[[Any], Any]


class MockTransport:
    """Answers calls from your own functions, for `Client(transport=)` and `AsyncClient(transport=)`.

    Requests and replies pass through the same encoding as over the network. GetModelStatus answers that `version` is
    AVAILABLE, GetModelMetadata with `signatures`; what has no answer is refused, as a server refuses it. A function may
    raise a ServingError: UnavailableError for a server that is down, NotFoundError, RefusedError.

    Args:
        predict: Called with the `PredictCall` of each Predict request; returns the outputs by name.
        signatures: The model's signatures, which the client needs for `check`, and for inputs that are not a dict of
            arrays.
        version: The version that answers, unless a request names another one.
        handlers: For other methods, such as `Classify`: a function from the request message to the response message;
            the message classes are in `attnexport.serving.messages`.

    Attributes:
        calls: The calls that were made, in order.

    Raises:
        ArgumentError: for a handler of a method that does not exist.

    Example:
        >>> import numpy as np
        >>> from attnexport.serving import Client, MockTransport
        >>> transport = MockTransport(lambda request: {"y": 2 * request.inputs["x"]}, version=3)
        >>> with Client("127.0.0.1:8500", model="double", transport=transport) as client:
        ...     prediction = client.predict({"x": np.array([1.0, 2.5])})
        >>> prediction["y"].tolist(), prediction.version, [call.method for call in transport.calls]
        ([2.0, 5.0], 3, ['Predict'])
    """

    def __init__(
        self,
        predict: PredictFunction | None = None,
        *,
        signatures: Iterable[Signature] = (),
        version: int = 1,
        handlers: Mapping[str, Handler] | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self._predict = predict
        self._signatures = tuple(signatures)
        self._version = version
        self._handlers = dict(handlers or {})
        unknown = sorted(self._handlers.keys() - METHODS.keys())
        if unknown:
            raise ArgumentError(f"there is no method {unknown[0]!r}; handlers may be given for {one_of(METHODS)}")

    def send(self, call: Call) -> bytes:
        """Answer a call; see `Transport.send`."""
        self.calls.append(call)
        if call.method in self._handlers:
            response = self._handlers[call.method](METHODS[call.method].request.FromString(call.request))
            return bytes(response.SerializeToString())
        match call.method:
            case "Predict" if self._predict is not None:
                return self._answer_predict(self._predict, call)
            case "GetModelStatus":
                return self._answer_status(call)
            case "GetModelMetadata" if self._signatures:
                return self._answer_metadata(call)
            case "HandleReloadConfigRequest":
                return b""
        raise RefusedError(f"{call.address}: this MockTransport has no answer to {call.method} (UNIMPLEMENTED)")

    async def send_async(self, call: Call) -> bytes:
        """Answer a call; see `AsyncTransport.send_async`."""
        return self.send(call)

    def close(self) -> None:
        """Nothing to close."""

    async def close_async(self) -> None:
        """Nothing to close."""

    def _answer_predict(self, predict: PredictFunction, call: Call) -> bytes:
        request = decode_predict_request(call.request)
        outputs = predict(request)
        wanted = request.outputs or tuple(outputs)
        unknown = [name for name in wanted if name not in outputs]
        if unknown:
            raise RefusedError(f"{call.address}: there is no output {unknown[0]!r} (INVALID_ARGUMENT)")
        return encode_predict_reply(self._served(request.model), {name: outputs[name] for name in wanted})

    def _answer_status(self, call: Call) -> bytes:
        method = METHODS[call.method]
        model = ServedModel.from_message(method.request.FromString(call.request).model_spec)
        if model.version not in (None, self._version):
            raise NotFoundError(f"{call.address}: there is no version {model.version} (NOT_FOUND)")
        response = method.response()
        response.model_version_status.add(version=self._version, state="AVAILABLE")
        return bytes(response.SerializeToString())

    def _answer_metadata(self, call: Call) -> bytes:
        method = METHODS[call.method]
        model = ServedModel.from_message(method.request.FromString(call.request).model_spec)
        definitions = SignatureDefMap()
        for signature in self._signatures:
            write_signature(signature, definitions.signature_def[signature.name])
        response = method.response(model_spec=self._served(model).to_message())
        response.metadata["signature_def"].Pack(definitions)
        return bytes(response.SerializeToString())

    def _served(self, model: ServedModel) -> ServedModel:
        version = self._version if model.version is None else model.version
        return ServedModel(model.name, version, None, model.signature)
