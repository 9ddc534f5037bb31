"""The transports of the clients: gRPC, blocking and for asyncio."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from attnexport.core.errors import ArgumentError

from .grpc_status import error_from
from .options import Compression, Tls
from .proxy import is_loopback
from .transport import Call

_COMPRESSIONS = {None: None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
_KEEPALIVE_TIMEOUT = 20.0  # seconds without an answer to a probe, or without an acknowledgement of what was sent
_MAX_BACKOFF = 1.0  # seconds between attempts to connect: a server that came back is found soon
# A name with several addresses is balanced over all of them; those that do not answer are passed over.
_SERVICE_CONFIG = '{"loadBalancingConfig": [{"round_robin": {}}]}'
_CLOSED = "the client was closed while it was in use"


class GrpcTransport:
    """Carries calls over gRPC, one channel for each address.

    Args:
        addresses: The servers, `HOST:PORT`.
        tls: Certificates; a plain connection if None.
        connect_timeout: Seconds after which a connection that is not made counts as refused.
        keepalive: Seconds of silence after which a connection is probed.
        compression: Compression of requests and replies: `gzip`, `deflate` or None.

    Raises:
        ArgumentError: if a certificate file does not exist.
        ContentError: if certificates cannot be read.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        tls: Tls | None = None,
        connect_timeout: float = 5.0,
        keepalive: float = 300.0,
        compression: Compression | None = None,
    ) -> None:
        arguments = _channel_arguments(tls, connect_timeout, keepalive)
        given, method = _credentials(tls), _COMPRESSIONS[compression]
        self._channels = {
            address: grpc.insecure_channel(address, arguments + _proxy_arguments(address), method)
            if given is None
            else grpc.secure_channel(address, given, arguments + _proxy_arguments(address), method)
            for address in addresses
        }
        self._methods: dict[tuple[str, str], Any] = {}
        self._closed = False
        # At the latest when the process ends, while gRPC's threads still run: afterwards a channel with calls in
        # progress, as an interruption leaves them, would wait for these threads for good.
        self._end = weakref.finalize(self, _close, tuple(self._channels.values()))

    def send(self, call: Call) -> bytes:
        """Make a call; see `Transport.send`."""
        try:
            reply: bytes = self._method(call)(call.request, call.timeout, call.metadata)
        except grpc.RpcError as error:
            raise error_from(error, call.address, call.timeout) from error
        except ValueError as error:
            raise self._closed_meanwhile(error) from error
        return reply

    def start(self, call: Call) -> _PendingGrpcReply:
        """Start a call; see `ConcurrentTransport.start`."""
        try:
            return _PendingGrpcReply(self._method(call).future(call.request, call.timeout, call.metadata), call)
        except ValueError as error:
            raise self._closed_meanwhile(error) from error

    def close(self) -> None:
        """Close the channels; calls in progress fail."""
        self._closed = True
        self._end()

    def _method(self, call: Call) -> Any:
        key = call.address, call.path
        if key not in self._methods:
            self._methods[key] = self._channels[call.address].unary_unary(call.path)
        return self._methods[key]

    def _closed_meanwhile(self, error: ValueError) -> Exception:
        """What gRPC raises on a channel that another thread closed."""
        return ArgumentError(_CLOSED) if self._closed else error


def _close(channels: Sequence[grpc.Channel]) -> None:
    for channel in channels:
        channel.close()


class _PendingGrpcReply:
    def __init__(self, future: Any, call: Call) -> None:
        self._future, self._call = future, call

    def result(self) -> bytes:
        try:
            reply: bytes = self._future.result()
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            raise error_from(error, self._call.address, self._call.timeout) from error
        return reply

    def cancel(self) -> object:
        return self._future.cancel()

    def add_done_callback(self, callback: Callable[[Any], object], /) -> object:
        return self._future.add_done_callback(callback)


class AsyncGrpcTransport:
    """Carries calls over gRPC for asyncio; the arguments of `GrpcTransport`.

    Its channels open in the event loop of the first call, to which gRPC binds them.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        tls: Tls | None = None,
        connect_timeout: float = 5.0,
        keepalive: float = 300.0,
        compression: Compression | None = None,
    ) -> None:
        self._addresses = tuple(addresses)
        self._arguments = _channel_arguments(tls, connect_timeout, keepalive)
        self._credentials, self._compression = _credentials(tls), _COMPRESSIONS[compression]
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._methods: dict[tuple[str, str], Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def send_async(self, call: Call) -> bytes:
        """Make a call; see `AsyncTransport.send_async`."""
        method = self._method(call)
        try:
            reply: bytes = await method(call.request, timeout=call.timeout, metadata=call.metadata)
        except grpc.RpcError as error:
            raise error_from(error, call.address, call.timeout) from error
        except grpc.aio.UsageError as error:
            raise ArgumentError(_CLOSED) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise ArgumentError(_CLOSED) from error
            raise
        return reply

    async def close_async(self) -> None:
        """Close the channels; calls in progress fail."""
        self._closed = True
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    def _method(self, call: Call) -> Any:
        self._connect()
        key = call.address, call.path
        if key not in self._methods:
            self._methods[key] = self._channels[call.address].unary_unary(call.path)
        return self._methods[key]

    def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._channels = {address: self._open(address) for address in self._addresses}
        elif self._loop is not loop:
            raise ArgumentError("an AsyncClient belongs to the event loop of its first call; make one for each loop")

    def _open(self, address: str) -> grpc.aio.Channel:
        arguments = self._arguments + _proxy_arguments(address)
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, arguments, self._compression)
        return grpc.aio.secure_channel(address, self._credentials, arguments, self._compression)


def _channel_arguments(tls: Tls | None, connect_timeout: float, keepalive: float) -> list[tuple[str, Any]]:
    arguments: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),  # gRPC's default of 4 MB is soon too little
        ("grpc.service_config", _SERVICE_CONFIG),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", 0),  # the client's own know the deadline and the other addresses
        ("grpc.use_local_subchannel_pool", 1),  # else a client inherits the backoff of another one
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", int(_MAX_BACKOFF * 1000)),
        # Despite its name the time that an attempt to connect may take.
        ("grpc.min_reconnect_backoff_ms", int(connect_timeout * 1000)),
        ("grpc.keepalive_time_ms", int(keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", int(_KEEPALIVE_TIMEOUT * 1000)),
    ]
    if tls is not None and tls.server_name:
        arguments.append(("grpc.ssl_target_name_override", tls.server_name))
    return arguments


def _proxy_arguments(address: str) -> list[tuple[str, Any]]:
    """Servers on this machine are never reached through a proxy."""
    return [("grpc.enable_http_proxy", 0)] if is_loopback(address) else []


def _credentials(tls: Tls | None) -> grpc.ChannelCredentials | None:
    """From the PEM files, or None for a plain connection."""
    if tls is None:
        return None
    ca, key, certificate = tls.read()
    return grpc.ssl_channel_credentials(ca, key, certificate)
