"""The REST edge: HTTP by uvicorn and starlette over the REST API, the metrics and the page."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from attnexport.core.errors import StorageError

from .dataplane import DataPlane
from .grpc_edge import OnAccess
from .metrics import DEFAULT_PATH
from .page import render
from .rest_api import RestApi, refused
from .status import Code, StatusError, invalid

_MOST_WAITING = 1000  # requests that run or wait for a thread
# The page fetches nothing but itself; its icon is the empty one in it.
_PAGE_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]


@dataclass(frozen=True)
class RestOptions:
    """How the REST edge works.

    Attributes:
        threads: That run requests.
        timeout: Seconds after which a request is answered 504.
        largest_body: In bytes, unpacked.
        metrics_path: Where Prometheus finds the metrics; None is off.
        cors: Whether pages of other origins may ask.
    """

    threads: int = 8
    timeout: float = 30.0
    largest_body: int = 128 << 20
    metrics_path: str | None = DEFAULT_PATH
    cors: bool = False


class RestEdge:
    """An HTTP server over a data plane, not yet started.

    Attributes:
        port: That it listens on.
        grpc_address: Of the gRPC edge, for the page.

    Raises:
        StorageError: where it cannot listen there.
    """

    def __init__(self, plane: DataPlane, host: str, port: int, options: RestOptions, on_access: OnAccess) -> None:
        self._plane, self._options = plane, options
        self._api = RestApi(plane, on_access)
        self._running = 0
        self.grpc_address: str | None = None
        try:
            self._socket = socket.create_server((host, port), family=_family(host), backlog=512)
        except OSError as error:
            raise StorageError(
                f"REST cannot listen on {host}:{port} ({error.strerror}): another server may be there; "
                "give another --rest_api_port, or stop it"
            ) from error
        self.port = int(self._socket.getsockname()[1])
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="rest")
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._application(), log_config=None, access_log=False, lifespan="off", ws="none", http="h11"
            )
        )
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Answer from now on."""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[self._socket])), name="rest", daemon=True
        )
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuse new requests, wait `grace` seconds for those that run, then end."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._socket.close()
        self._pool.shutdown()

    def _application(self) -> Starlette:
        routes = [Route("/", self._page)]
        if self._options.metrics_path is not None:
            routes.append(Route(self._options.metrics_path, self._metrics))
        routes.append(Route("/{path:path}", self._answer, methods=_METHODS))
        cors = [Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])]
        return Starlette(routes=routes, middleware=cors if self._options.cors else [])

    async def _page(self, _: Request) -> Response:
        text = render(self._plane, self.grpc_address, self.port)
        return Response(text, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})

    async def _metrics(self, _: Request) -> Response:
        return Response(self._plane.metrics.exposition(), media_type="text/plain; version=0.0.4")

    async def _answer(self, request: Request) -> Response:
        if not request.url.path.lower().startswith("/v1/") or self._running >= _MOST_WAITING:
            busy = StatusError(Code.RESOURCE_EXHAUSTED, "too many requests wait here; try later")
            lost = StatusError(Code.NOT_FOUND, f"there is nothing at {request.url.path[:200]}; see /v1/models/MODEL")
            return _response(refused(busy if self._running >= _MOST_WAITING else lost))
        self._running += 1
        try:
            return await self._respond(request)
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            self._running -= 1

    async def _respond(self, request: Request) -> Response:
        try:
            body = await read_body(request, self._options.largest_body)
        except StatusError as status:
            if status.code is Code.OUT_OF_RANGE:  # as HTTP alone says it
                return Response(refused(status).body, 413, media_type="application/json")
            return _response(refused(status))
        until, gone = time.monotonic() + self._options.timeout, asyncio.Event()
        watching = asyncio.create_task(_watch(request, gone))
        work = asyncio.get_running_loop().run_in_executor(
            self._pool,
            self._api.respond,
            request.method,
            request.scope["path"],
            body,
            lambda: time.monotonic() < until and not gone.is_set(),
        )
        try:
            return _response(await asyncio.wait_for(asyncio.shield(work), self._options.timeout))
        except TimeoutError:
            return _response(
                refused(StatusError(Code.DEADLINE_EXCEEDED, f"no answer within {self._options.timeout:g} s"))
            )
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request, unpacked where it is gzip.

    Raises:
        StatusError: OUT_OF_RANGE where it is larger than `most` bytes, INVALID_ARGUMENT where it is no gzip.
    """
    packed = request.headers.get("content-encoding", "").lower() == "gzip"
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if packed else None
    parts, size = [], 0
    async for chunk in request.stream():
        try:
            part = unpacker.decompress(chunk, most - size + 1) if unpacker else chunk
        except zlib.error as error:
            raise invalid(f"the body is said to be gzip and is not: {error}") from error
        parts.append(part)
        size += len(part)
        if size > most:
            raise StatusError(Code.OUT_OF_RANGE, f"the body is larger than {most:,} bytes, which is the most")
    if unpacker and size and not unpacker.eof:
        raise invalid("the body is gzip that is cut off")
    return b"".join(parts)


async def _watch(request: Request, gone: asyncio.Event) -> None:
    message: Any = await request.receive()
    while message["type"] != "http.disconnect":
        message = await request.receive()
    gone.set()


def _response(answer: Any) -> Response:
    return Response(answer.body, answer.status, media_type="application/json")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
