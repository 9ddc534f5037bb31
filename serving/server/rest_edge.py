"""The REST edge: uvicorn listens for the REST API, the metrics and the page."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from collections.abc import Callable

import uvicorn

from attnexport.core.errors import StorageError

from .dataplane import DataPlane
from .edges import OnAccess, family, why_not
from .rest_app import RestApp, RestOptions
from .rest_connections import MAX_HEAD_BYTES, h11_protocol, listen

_IDLE_SECONDS = 120  # of a connection: longer than load balancers (60 s) and Go's client (90 s) keep theirs

# What it says of connections and of the end is for whoever set up logging; Python would print it on stderr.
logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())


class RestEdge:
    """An HTTP server over a data plane, not yet started; on the listening socket `fd` if it is given.

    Attributes:
        port: Port it listens on.

    Raises:
        StorageError: if it cannot listen there.
    """

    def __init__(
        self, plane: DataPlane, host: str, port: int, options: RestOptions, on_access: OnAccess, fd: int | None = None
    ) -> None:
        self._app = RestApp(plane, options, on_access)
        self._socket = open_rest(host, port) if fd is None else socket.socket(fileno=fd)
        self.port = self._app.port = int(self._socket.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http=_protocol(),
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                proxy_headers=False,
                timeout_keep_alive=_IDLE_SECONDS,
            )
        )
        self._thread: threading.Thread | None = None

    def start(self, grpc_address: str | None = None) -> None:
        """Answer from now on; the page shows the address of gRPC."""
        self._app.grpc_address = grpc_address
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuse new requests, wait `grace` seconds for those that run, then end."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._socket.close()
        self._app.shutdown()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))


def open_rest(host: str, port: int) -> socket.socket:
    """A listening socket for REST; port 0 takes a free one.

    Raises:
        StorageError: if it cannot listen there.
    """
    try:
        listening = socket.create_server((host, port), family=family(host), backlog=512)
    except OSError as error:
        raise StorageError(f"REST cannot listen on {host}:{port}: {_why_not(error)}") from error
    listen(listening)
    return listening


def _protocol() -> type[asyncio.Protocol]:
    """That of httptools where it is installed; h11 is slower."""
    try:
        from .rest_httptools import LimitedHttpTools
    except ImportError:
        return h11_protocol()
    return LimitedHttpTools


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """That of uvloop where it is installed; asyncio's own is slower."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


def _why_not(error: OSError) -> str:
    why = why_not(error, "--rest_api_port")
    if error.errno == errno.EADDRINUSE:
        return why
    return f"{why}; give a --host and a --rest_api_port of this machine that are free to you"
