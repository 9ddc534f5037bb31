"""The REST edge: HTTP by uvicorn and starlette over the REST API, the metrics and the page."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from attnexport.core.errors import StorageError

from .dataplane import DataPlane
from .grpc_edge import OnAccess
from .metrics import DEFAULT_PATH
from .page import render
from .rest_api import Answer, BodyError, RestApi, refused, too_large
from .status import Code, StatusError

_MOST_WAITING = 1000  # requests that run or wait for a thread
_MOST_HELD = 8  # times the largest body: all bodies that are read, wait or run
_SMALL = 1 << 16  # bytes; a body up to here is read whatever the others hold
_BODY_SECONDS = 30.0  # for reading a body where requests have no limit, or dropping one that is refused
_IDLE_SECONDS = 120  # of a connection: longer than load balancers (60 s) and Go's client (90 s) keep theirs
_ORIGIN = re.compile(r"\Ahttps?://[^/]*", re.IGNORECASE)
_ANY_ORIGIN: dict[str, Any] = {"allow_origins": ["*"], "allow_methods": ["*"], "allow_headers": ["*"]}
# The page fetches nothing but itself; its icon is the empty one in it.
_PAGE_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)


@dataclass(frozen=True)
class RestOptions:
    """How the REST edge works.

    Attributes:
        threads: That run requests.
        timeout: Seconds for reading a request's body, else it is answered 408, and running it, else 504. Where 0 or
            less, only reading is limited.
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
        self._api = RestApi(plane, on_access, options.largest_body)
        self._waiting = self._held = 0  # requests whose body is here, and the bytes of all bodies
        self.grpc_address: str | None = None
        try:
            self._socket = socket.create_server((host, port), family=_family(host), backlog=512)
        except OSError as error:
            raise StorageError(f"REST cannot listen on {host}:{port}: {_why_not(error)}") from error
        self.port = int(self._socket.getsockname()[1])
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="rest")
        self._server = uvicorn.Server(
            uvicorn.Config(
                CORSMiddleware(self._serve, **_ANY_ORIGIN) if options.cors else self._serve,
                interface="asgi3",
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http="h11",
                timeout_keep_alive=_IDLE_SECONDS,
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

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = _path(request)
        if path.lower().startswith("/v1/"):
            try:
                return await self._respond(request, path)
            except StatusError as status:
                return _response(refused(status))
            except ClientDisconnect:
                return Response(status_code=499)
        if request.method in ("GET", "HEAD"):
            if path == "/":
                text = render(self._plane, self.grpc_address, self.port)
                return Response(text, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})
            if path == self._options.metrics_path:
                return Response(self._plane.metrics.exposition(), media_type="text/plain; version=0.0.4")
        lost = f"there is nothing to {request.method[:20]} at {path[:200]}; see /v1/models/MODEL"
        return _response(refused(StatusError(Code.NOT_FOUND, lost)))

    async def _respond(self, request: Request, path: str) -> Response:
        seconds = self._options.timeout
        until = time.monotonic() + seconds if seconds > 0 else math.inf
        limit = seconds if seconds > 0 else _BODY_SECONDS
        try:
            async with asyncio.timeout(limit):
                body = await self._read(request)
        except TimeoutError:
            raise BodyError(408, f"the body did not come within {limit:g} s") from None
        except StatusError as status:
            return _response(refused(status), _Unread)
        if self._waiting >= _MOST_WAITING:
            self._held -= len(body)
            raise StatusError(Code.RESOURCE_EXHAUSTED, "too many requests wait here; try later")
        gone = asyncio.Event()
        watching = asyncio.create_task(_watch(request, gone))
        packed = request.headers.get("content-encoding", "").lower() == "gzip"
        self._waiting += 1
        work = asyncio.get_running_loop().run_in_executor(
            self._pool,
            self._api.respond,
            request.method,
            path,
            body,
            lambda: time.monotonic() < until and not gone.is_set(),
            packed,
        )
        # Not when its client is answered: what waits for a thread has its body for so long.
        work.add_done_callback(lambda _: self._let_go(len(body)))
        try:
            left = until - time.monotonic() if seconds > 0 else None
            return _response(await asyncio.wait_for(asyncio.shield(work), left))
        except TimeoutError:
            raise StatusError(Code.DEADLINE_EXCEEDED, f"no answer within {seconds:g} s") from None
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    def _let_go(self, size: int) -> None:
        self._waiting -= 1
        self._held -= size

    async def _read(self, request: Request) -> bytearray:
        """The body of a request as it comes, which counts as held.

        Raises:
            StatusError: where it is too large, or others hold too much.
        """
        most = self._options.largest_body
        if int(request.headers.get("content-length", 0)) > most:
            raise too_large(most)
        body = bytearray()  # rather than chunks, which may be of a byte each
        try:
            async for chunk in request.stream():
                body += chunk
                self._held += len(chunk)
                if len(body) > most:
                    raise too_large(most)
                if len(body) > _SMALL and self._held > _MOST_HELD * most:
                    raise StatusError(Code.RESOURCE_EXHAUSTED, "too many large bodies are held here; try later")
        except BaseException:
            self._held -= len(body)
            raise
        return body


class _Unread(Response):
    """An answer to a request whose body still comes: it is dropped, since few clients read before they have sent it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BODY_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body"})


async def _watch(request: Request, gone: asyncio.Event) -> None:
    message: Any = await request.receive()
    while message["type"] != "http.disconnect":
        message = await request.receive()
    gone.set()


def _path(request: Request) -> str:
    """As it was sent, still escaped; of a whole URL (RFC 9112, 3.2.2) its path."""
    raw: bytes = request.scope["raw_path"]
    return _ORIGIN.sub("", raw.decode("ascii")) or "/"


def _response(answer: Answer, kind: type[Response] = Response) -> Response:
    # What is left of a body may never come, and the connection would wait for it.
    headers = {"Connection": "close"} if kind is _Unread or answer.status == 408 else None
    return kind(answer.body, answer.status, headers, "application/json")


def _why_not(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another server is there; give another --rest_api_port, or stop it"
    return f"{error.strerror or error}; give a --host and a --rest_api_port of this machine that are free to you"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
