"""The methods of gRPC: bytes to the data plane and back, and statuses as gRPC has them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from attnexport.core.errors import CodecError, first_line
from attnexport.serving.codec import decode_predict_request, encode_predict_reply
from attnexport.serving.codec.encode import Form
from attnexport.serving.messages import METHODS, MODELS_SERVICE, PredictRequest

from .cancellation import Alive, check_alive
from .dataplane import DataPlane, model_of
from .edges import OnAccess
from .replies import Replies
from .status import Code, StatusError, invalid, status_of
from .workers import Workers

_LONG = 0.005  # seconds that a request waits before anyone asks whether its client still does
_COUNTED = ("Predict", "Classify", "Regress")  # in TF Serving's request metrics
_RUN_MODELS = (*_COUNTED, "MultiInference")
_CODES = {code: status for status in grpc.StatusCode for code in [status.value[0]]}


class Methods:
    """The handlers of every method over a data plane.

    Args:
        plane: What answers.
        form: How replies hold their tensors.
        on_access: Called after every request.
        models: The threads that run models.
        control: Those of status and metadata, which wait for no model.
        reloading: Those of reloads, which last until models are loaded.
        replies: The replies that clients have not read.
    """

    def __init__(
        self,
        plane: DataPlane,
        form: Form,
        on_access: OnAccess,
        models: Workers,
        control: Workers,
        reloading: Workers,
        replies: Replies,
    ) -> None:
        self._plane, self._form, self._on_access, self._replies = plane, form, on_access, replies
        self._models, self._control, self._reloading = models, control, reloading

    def handlers(self) -> dict[str, dict[str, Any]]:
        """By service and method."""
        plane = self._plane
        work: dict[str, Callable[[Any, Alive], Any]] = {
            "Classify": plane.classify,
            "Regress": plane.regress,
            "MultiInference": plane.multi_inference,
            "GetModelMetadata": lambda request, _: plane.metadata(request),
            "GetModelStatus": lambda request, _: plane.status(request),
            "HandleReloadConfigRequest": lambda request, _: plane.reload(request),
        }
        services: dict[str, dict[str, Any]] = {}
        for name, method in METHODS.items():
            handle = self._predict if name == "Predict" else self._messages(method.request, work[name])
            # Of streams, which gRPC does not wait for before it calls the handler: see `Workers`.
            handler = grpc.stream_unary_rpc_method_handler(self._measured(name, handle, self._pool(name)))
            services.setdefault(method.service, {})[name] = handler
        # TF Serving cannot be asked what it serves; `attnexport list` asks this.
        listing = self._measured("ListModels", lambda data, alive, model: plane.listing(), self._control)
        services[MODELS_SERVICE] = {"List": grpc.stream_unary_rpc_method_handler(listing)}
        return services

    def _pool(self, name: str) -> Workers:
        if name in _RUN_MODELS:
            return self._models
        return self._reloading if name == "HandleReloadConfigRequest" else self._control

    def _measured(
        self, api: str, handle: Callable[[bytes, Alive, list[str]], bytes], pool: Workers
    ) -> Callable[[Iterator[bytes], Any], bytes]:
        """A handler that counts, and that ends every failure in a status."""
        is_counted = api in _COUNTED

        def respond(messages: Iterator[bytes], context: Any) -> bytes:
            try:
                data = pool.receive(messages, context.cancel)
            except grpc.RpcError:  # it was cancelled, is too large, or did not come in time
                self._on_access("GRPC", api, "", Code.CANCELLED, time.monotonic() - pool.task.since)
                raise
            if data is None:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{api} requires exactly one request message")
            begin = time.perf_counter()
            model: list[str] = []  # its name, as soon as that is read
            code, reply, refusal = Code.OK, b"", ""
            try:
                # Asking costs as much as a small model's whole codec, so it is asked after what waited for a thread.
                if pool.task.waited > _LONG:
                    check_alive(context.is_active)
                reply = handle(data or b"", context.is_active, model)
            except Exception as error:
                # Not the error itself, whose traceback holds this frame: the call would end with the next garbage.
                code, refusal = _ended_by(error)
            seconds = time.perf_counter() - begin
            name = model[0] if model else ""
            if is_counted:
                self._plane.count(name, api, "GRPC", code, seconds)
            self._on_access("GRPC", api, name, code, seconds)
            self._replies.hand_over(len(reply), context)
            if code is not Code.OK:
                context.abort(_CODES[int(code)], refusal)
            return reply

        respond.experimental_thread_pool = pool  # type: ignore[attr-defined]
        return respond

    def _predict(self, data: bytes, alive: Alive, model: list[str]) -> bytes:
        try:
            call = decode_predict_request(data)
        except CodecError as error:
            raise self._undecodable(data, error, model) from error
        model.append(call.model.name)
        if not call.model.name:
            model_of(_parsed(PredictRequest, data))
        answer = self._plane.predict(call, alive)
        return encode_predict_reply(answer.model, answer.outputs, self._form)

    def _undecodable(self, data: bytes, error: CodecError, model: list[str]) -> StatusError:
        """The error of a Predict whose tensors cannot be read; an unknown model or signature comes first."""
        request = _parsed(PredictRequest, data)
        spec = model_of(request)
        model.append(spec.name)
        self._plane.signature(spec)
        return invalid(f"tensor parsing error: {error}")

    def _messages(self, kind: Any, work: Callable[[Any, Alive], Any]) -> Callable[[bytes, Alive, list[str]], bytes]:
        def handle(data: bytes, alive: Alive, model: list[str]) -> bytes:
            request = _parsed(kind, data)
            if hasattr(request, "model_spec"):
                model.append(request.model_spec.name)
            elif getattr(request, "tasks", None):
                model.append(request.tasks[0].model_spec.name)
            reply: bytes = work(request, alive).SerializeToString()
            return reply

        return handle


def _ended_by(error: Exception) -> tuple[Code, str]:
    status = status_of(error)
    return status.code, str(status)


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        text = f"the bytes of the request are not a {kind.DESCRIPTOR.full_name}: {first_line(error)}"
        raise StatusError(Code.INTERNAL, text) from error
