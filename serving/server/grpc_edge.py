"""The gRPC edge: a gRPC server that listens, starts and ends."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

import grpc

from attnexport.core.errors import StorageError
from attnexport.serving.codec.encode import Form

from .dataplane import DataPlane
from .edges import MAX_CALLS, OnAccess, family, why_not
from .grpc_methods import Methods
from .replies import Replies
from .status import invalid
from .workers import Workers

_CONTROL_THREADS = 4
_CONNECTIONS = {
    "grpc.so_reuseport": 0,  # or two servers would share the port unseen
    "grpc.server_handshake_timeout_ms": 20_000,  # of one that connects and says nothing
    "grpc.keepalive_time_ms": 60_000,  # after which a connection whose other end is gone is found out
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.max_concurrent_streams": 256,  # of a connection, so that one alone cannot take all there are
}


@dataclass(frozen=True)
class GrpcOptions:
    """How the gRPC edge is opened.

    Attributes:
        threads: Threads that run models. Status, metadata, health and reloads have threads of their own.
        tensor_content: Whether replies are in `tensor_content` rather than in `*_val` fields.
        max_message_bytes: Largest request or reply.
        message_seconds: How long the message of a call may take to arrive, and how long its reply may wait for the
            client, beside a second for each 100 kB of it; the call is cancelled then.
        health_service: Whether the health service answers.
        socket_path: A unix socket to listen on beside the port.
        channel_arguments: Channel arguments of gRPC.
        credentials: `grpc.ServerCredentials` for TLS.
    """

    threads: int = 4
    tensor_content: bool = False
    max_message_bytes: int = 1 << 30
    message_seconds: float = 60.0
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
        form: Form = "packed" if options.tensor_content else "values"
        seconds = options.message_seconds
        models, control = Workers(options.threads, seconds), Workers(_CONTROL_THREADS, seconds)
        reloading = Workers(1, seconds)
        self._pools, self._replies = (models, control, reloading), Replies(seconds)
        arguments = {
            "grpc.max_receive_message_length": options.max_message_bytes,
            "grpc.max_send_message_length": options.max_message_bytes,
            **_CONNECTIONS,
            **dict(options.channel_arguments),
        }
        self._server = grpc.server(models, options=list(arguments.items()), maximum_concurrent_rpcs=MAX_CALLS)
        for service, handlers in Methods(plane, form, on_access, *self._pools, self._replies).handlers().items():
            self._server.add_registered_method_handlers(service, handlers)
        self._health: Any = None
        if options.health_service:
            from . import health

            self._health = health.Health(control)
            self._server.add_registered_method_handlers(health.NAME, self._health.handlers())
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
        if self._health is not None:
            self._health.serve()

    def stop(self, grace: float) -> None:
        """Refuse new requests, wait `grace` seconds for those that run, then end."""
        if self._health is not None:
            self._health.end()
        self._server.stop(grace).wait()
        for pool in self._pools:
            pool.shutdown()
        self._replies.close()

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
        return why_not(error, "--port")
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
