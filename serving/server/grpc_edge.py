"""The gRPC edge: bytes to the data plane and back, and statuses as gRPC has them."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from attnexport.core.errors import CodecError, StorageError, first_line
from attnexport.serving.codec import decode_predict_request, encode_predict_reply
from attnexport.serving.codec.encode import Form
from attnexport.serving.messages import METHODS, PredictRequest

from .cancellation import Alive, check_alive
from .dataplane import DataPlane, model_of
from .edges import MAX_WAITING, OnAccess, family
from .status import Code, StatusError, invalid, status_of
from .workers import Task, Workers

_MAX_DETAIL = 2000  # characters: gRPC drops replies whose trailers are longer than 8 KB
_CONTROL_THREADS = 4
_LONG = 0.005  # seconds that a request waits before anyone asks whether its client still does
_COUNTED = ("Predict", "Classify", "Regress")  # in TF Serving's request metrics
_RUN_MODELS = (*_COUNTED, "MultiInference")
_CODES = {code: status for status in grpc.StatusCode for code in [status.value[0]]}


@dataclass(frozen=True)
class GrpcOptions:
    """How the gRPC edge is opened.

    Attributes:
        threads: Threads that run models. Status, metadata, health and reloads have threads of their own.
        tensor_content: Whether replies are in `tensor_content` rather than in `*_val` fields.
        max_message_bytes: Largest request or reply.
        health_service: Whether the health service answers.
        socket_path: A unix socket to listen on beside the port.
        channel_arguments: Channel arguments of gRPC.
        credentials: `grpc.ServerCredentials` for TLS.
    """

    threads: int = 4
    tensor_content: bool = False
    max_message_bytes: int = 1 << 30
    health_service: bool = False
    socket_path: str | None = None
    channel_arguments: tuple[tuple[str, Any], ...] = ()
    credentials: Any = None


class GrpcEdge:
    """A gRPC server over a data plane, not yet started.

    Raises:
        StorageError: if it cannot listen there.
    """

    def __init__(self, plane: DataPlane, address: str | None, options: GrpcOptions, on_access: OnAccess) -> None:
        self._plane, self._on_access = plane, on_access
        self._form: Form = "packed" if options.tensor_content else "values"
        self._pool, self._control = Workers(options.threads), Workers(_CONTROL_THREADS)
        self._reloading = Workers(1)  # which lasts until models are loaded
        limits = [
            ("grpc.max_receive_message_length", options.max_message_bytes),
            ("grpc.max_send_message_length", options.max_message_bytes),
            ("grpc.so_reuseport", 0),  # or two servers would share the port unseen
        ]
        self._server = grpc.server(
            self._pool, options=[*limits, *options.channel_arguments], maximum_concurrent_rpcs=MAX_WAITING
        )
        for service, handlers in self._handlers().items():
            self._server.add_registered_method_handlers(service, handlers)
        self._health = self._add_health() if options.health_service else None
        self.port = 0
        try:
            if address is not None:
                self.port = self._listen(address, options.credentials)
            if options.socket_path is not None:
                self._listen(f"unix:{options.socket_path}", options.credentials)
        except StorageError:
            self.stop(0)
            raise

    def start(self) -> None:
        """Answer from now on."""
        self._server.start()
        self._set_health(serving=True)

    def stop(self, grace: float) -> None:
        """Refuse new requests, wait `grace` seconds for those that run, then end."""
        self._set_health(serving=False)
        self._server.stop(grace).wait()
        for pool in (self._pool, self._control, self._reloading):
            pool.shutdown()

    def _listen(self, address: str, credentials: Any) -> int:
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise StorageError(
                f"gRPC cannot listen on {address}: {_why_not(address, secure=credentials is not None)}"
            ) from error
        return int(port)

    def _set_health(self, *, serving: bool) -> None:
        if self._health is not None:
            from grpc_health.v1 import health_pb2

            states = health_pb2.HealthCheckResponse
            for service in ("", "ModelService", "PredictionService"):
                self._health.set(service, states.SERVING if serving else states.NOT_SERVING)

    def _handlers(self) -> dict[str, dict[str, Any]]:
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
            if name in _RUN_MODELS:
                respond = self._measured(name, handle, self._pool.task)
            else:
                pool = self._reloading if name == "HandleReloadConfigRequest" else self._control
                respond = _aside(self._measured(name, handle, pool.task), pool)
            services.setdefault(method.service, {})[name] = grpc.unary_unary_rpc_method_handler(respond)
        return services

    def _add_health(self) -> Any:
        from grpc_health.v1 import health, health_pb2_grpc

        servicer = health.HealthServicer(experimental_thread_pool=self._control)
        servicer.Check = _aside(servicer.Check, self._control)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        return servicer

    def _measured(
        self, api: str, handle: Callable[[bytes, Alive, list[str]], bytes], task: Task
    ) -> Callable[[bytes, Any], bytes]:
        """A handler that counts, and that ends every failure in a status; `task` is its threads'."""
        is_counted = api in _COUNTED

        def respond(data: bytes, context: Any) -> bytes:
            begin = time.perf_counter()
            model: list[str] = []  # its name, as soon as that is read
            code, reply, status = Code.OK, b"", None
            try:
                # Asking costs as much as a small model's whole codec, so it is asked after what waited for a thread.
                if task.waited > _LONG:
                    check_alive(context.is_active)
                reply = handle(data, context.is_active, model)
            except Exception as error:
                status = status_of(error)
                code = status.code
            seconds = time.perf_counter() - begin
            name = model[0] if model else ""
            if is_counted:
                self._plane.count(name, api, "GRPC", code, seconds)
            self._on_access("GRPC", api, name, code, seconds)
            if status is not None:
                context.abort(_CODES[int(code)], str(status)[:_MAX_DETAIL])
            return reply

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


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        text = f"the bytes of the request are not a {kind.DESCRIPTOR.full_name}: {first_line(error)}"
        raise StatusError(Code.INTERNAL, text) from error


def _aside(behavior: Callable[..., Any], pool: Workers) -> Callable[..., Any]:
    """The same, run by threads that slow models do not keep: a server is not ill because it is busy."""

    def run(*args: Any) -> Any:
        return behavior(*args)

    run.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return run


def _why_not(address: str, *, secure: bool) -> str:
    """What keeps gRPC from an address; it does not say, so the address is tried once more without it."""
    path, (host, _, port) = address.removeprefix("unix:"), address.rpartition(":")
    try:
        if path != address:
            with socket.socket(socket.AF_UNIX) as tried:
                tried.bind(path)
            os.unlink(path)
        else:
            socket.create_server((host.strip("[]"), int(port)), family=family(host)).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another server is there; give another --port, or stop it"
        return f"{error.strerror or error}"
    return "certificate and key of the SSL configuration are not usable PEM" if secure else "gRPC does not say why"


def server_credentials(config: Any) -> Any:
    """`grpc.ServerCredentials` from an SSLConfig message.

    Raises:
        StatusError: if key or certificate is missing.
    """
    if not config.server_key or not config.server_cert:
        raise invalid("the SSL configuration needs server_key and server_cert, as PEM text rather than paths")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=bool(config.client_verify),
    )
