"""The REST edge: HTTP by uvicorn and starlette over the REST API, the metrics and the page."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from attnexport.core.errors import StorageError, first_line

from .dataplane import DataPlane
from .edges import OnAccess, family
from .metrics import DEFAULT_PATH
from .page import render
from .rest_api import Answer, RestApi, refused
from .rest_bodies import Bodies, Unread, UnreadError
from .rest_connections import MAX_HEAD_BYTES, METHODS, listen, page, protocol
from .rest_workers import RestWorkers, settle
from .status import Code, StatusError, status_of

_READ_THREADS = 2
_IDLE_SECONDS = 120  # of a connection: longer than load balancers (60 s) and Go's client (90 s) keep theirs
_ORIGIN = re.compile(r"\Ahttps?://[^/]*", re.IGNORECASE)
# A path and query of RFC 3986.
_CHARACTER = r"[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}"
_TARGET = re.compile(rf"(?:{_CHARACTER})*(?:[?#](?:{_CHARACTER}|[?#])*)?")
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_EMPTY_TYPE = "text/html; charset=ISO-8859-1"  # as libevent writes it
# The page fetches nothing but itself; its icon is the empty one in it.
_PAGE_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)

# What it says of connections and of the end is for whoever set up logging; Python would print it on stderr.
logging.getLogger("uvicorn.error").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class RestOptions:
    """How the REST edge works.

    Attributes:
        threads: Threads that run models. Status and metadata have two of their own.
        timeout_seconds: Time for reading the body of a request (answered 408 when it is over) and for running it (504).
            At 0 or less, running has no limit and reading 30 s.
        max_body_bytes: The largest body, unpacked.
        metrics_path: Path of the metrics for Prometheus; None turns them off.
        cors: Whether pages of other origins may send requests.
    """

    threads: int = 8
    timeout_seconds: float = 30.0
    max_body_bytes: int = 128 << 20
    metrics_path: str | None = DEFAULT_PATH
    cors: bool = False


class RestEdge:
    """An HTTP server over a data plane, not yet started.

    Attributes:
        port: Port it listens on.
        grpc_address: Address of the gRPC edge, for the page.

    Raises:
        StorageError: if it cannot listen there.
    """

    def __init__(self, plane: DataPlane, host: str, port: int, options: RestOptions, on_access: OnAccess) -> None:
        self._plane, self._options = plane, options
        self._api = RestApi(plane, on_access, options.max_body_bytes)
        self._bodies = Bodies(options.max_body_bytes)
        self.grpc_address: str | None = None
        try:
            self._socket = socket.create_server((host, port), family=family(host), backlog=512)
        except OSError as error:
            raise StorageError(f"REST cannot listen on {host}:{port}: {_why_not(error)}") from error
        listen(self._socket)
        self.port = int(self._socket.getsockname()[1])
        self._workers = RestWorkers(options.threads, "rest")
        self._readers = RestWorkers(_READ_THREADS, "rest-get")
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._serve,
                interface="asgi3",
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                http=protocol(),
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                proxy_headers=False,
                timeout_keep_alive=_IDLE_SECONDS,
            )
        )
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Answer from now on."""
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuse new requests, wait `grace` seconds for those that run, then end."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._socket.close()
        for workers in (self._workers, self._readers):
            workers.shutdown()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(Request(scope, receive))
        except asyncio.CancelledError:  # by uvicorn, after the grace; it would answer 500 in plain text
            response = _response(refused(StatusError(Code.UNAVAILABLE, "the server ends")))
        with contextlib.suppress(asyncio.CancelledError):
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._respond(request, _path(request))
        except UnreadError as refusal:
            return _response(refused(refusal.status), Unread)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            return _response(refused(status_of(error)))

    async def _respond(self, request: Request, path: str) -> Response:
        if request.method not in METHODS:
            return _page(501, "Not Implemented", f"{request.method[:20]} is not a method of this server.")
        head = sum(len(name) + len(value) + 4 for name, value in request.headers.raw)
        if head + len(path) + len(request.scope["query_string"]) > MAX_HEAD_BYTES:
            help_text = f"The path and the headers may have {MAX_HEAD_BYTES} bytes."
            return _page(431, "Request Header Fields Too Large", help_text)
        target = f"{path}?{query}" if (query := request.scope["query_string"].decode("latin-1")) else path
        if not _TARGET.fullmatch(target):
            return _page(400, "Bad Request", "The path is not a valid URI; escape other characters by %.")
        response = await self._respond_to(request, path, target)
        if self._options.cors and path.lower().startswith("/v1/"):
            response.headers.update(_CORS_HEADERS)
        return response

    async def _respond_to(self, request: Request, path: str, target: str) -> Response:
        if request.method in ("GET", "HEAD"):
            if path == self._options.metrics_path:  # which may be below /v1/
                return Response(self._plane.metrics.exposition(), media_type="text/plain; version=0.0.4")
            if path == "/":
                text = render(self._plane, self.grpc_address, self.port, self._options.metrics_path)
                return Response(text, media_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY})
        if not path.lower().startswith("/v1/"):
            return _page(404, "Not Found", "Models are at /v1/models/MODEL, a page about them is at /.")
        if request.method == "OPTIONS":
            is_allowed = _ORIGIN.match(request.headers.get("origin", "")) is not None
            code = Code.OK if is_allowed else Code.FAILED_PRECONDITION
            self._plane.count("", "", "REST", code, 0.0)
            return Response(status_code=200 if is_allowed else 400, headers={"Content-Type": _EMPTY_TYPE})
        return _response(await self._work(request, target))

    async def _work(self, request: Request, path: str) -> Answer:
        seconds = self._options.timeout_seconds
        until = time.monotonic() + seconds if seconds > 0 else math.inf
        body = await self._bodies.read(request, seconds)
        cycle = getattr(request.receive, "__self__", None)  # uvicorn's, which knows at once that the client has gone
        respond = partial(
            self._api.respond,
            request.method,
            path,
            body,
            lambda: time.monotonic() < until and not getattr(cycle, "disconnected", False),
            request.headers.get("content-encoding", "").lower() == "gzip",
        )
        workers, loop = self._workers if request.method == "POST" else self._readers, asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()

        def submit(let_go: Callable[[], None]) -> None:
            def end(result: Answer | None, error: BaseException | None) -> None:
                let_go()
                settle(answer, result, error)

            workers.run(respond, loop, end)

        try:
            self._bodies.work(len(body), submit)
        except RuntimeError as error:
            raise StatusError(Code.RESOURCE_EXHAUSTED, f"{first_line(error)}; try later") from error
        if seconds <= 0:
            return await answer
        over = StatusError(Code.DEADLINE_EXCEEDED, f"no answer within {seconds:g} s")
        timer = loop.call_later(max(0.0, until - time.monotonic()), settle, answer, None, over)
        try:
            return await answer
        finally:
            timer.cancel()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """That of uvloop where it is installed; asyncio's own is slower."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


def _path(request: Request) -> str:
    """As it was sent, still escaped; of a whole URL (RFC 9112, 3.2.2) its path."""
    raw: bytes = request.scope["raw_path"]
    return _ORIGIN.sub("", raw.decode("latin-1")) or "/"


def _page(status: int, title: str, help_text: str) -> Response:
    return Response(page(status, title, help_text), status, headers={"Content-Type": "text/html"})


def _response(answer: Answer, kind: type[Response] = Response) -> Response:
    # What is left of a body may never come, and the connection would wait for it.
    headers = {"Connection": "close"} if kind is Unread or answer.status == 408 else None
    return kind(answer.body.encode("utf-8", "surrogateescape"), answer.status, headers, "application/json")


def _why_not(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another server is there; give another --rest_api_port, or stop it"
    return f"{error.strerror or error}; give a --host and a --rest_api_port of this machine that are free to you"
