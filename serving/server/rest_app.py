"""The REST API, the metrics and the page as an application of ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from attnexport.core.errors import first_line

from .cancellation import always
from .dataplane import DataPlane
from .edges import OnAccess, no_access_log
from .metrics import DEFAULT_PATH
from .page import render
from .rest_api import Answer, NotQuickError, RestApi, refused
from .rest_bodies import Bodies, UnreadError
from .rest_connections import MAX_HEAD_BYTES, METHODS
from .rest_replies import DisconnectedError, Receive, Reply, Scope, Send, html_reply, json_reply, send_reply
from .rest_workers import RestWorkers, settle
from .status import Code, StatusError, status_of

_READ_THREADS = 2
MAX_QUICK_BYTES = 1 << 15  # of a request that the event loop may answer itself
_MAX_QUICK_TARGETS = 1000  # that are remembered
_ORIGIN = re.compile(r"\Ahttps?://[^/]*", re.IGNORECASE)
# A path and query of RFC 3986.
_CHARACTERS = r"[A-Za-z0-9._~!$&'()*+,;=:@/-]++|%[0-9A-Fa-f]{2}"
_TARGET = re.compile(rf"(?:{_CHARACTERS})*+(?:[?#](?:{_CHARACTERS}|[?#])*+)?")
_CORS_HEADERS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
)
_EMPTY_HEADERS = ((b"content-type", b"text/html; charset=ISO-8859-1"),)  # as libevent writes it
_METRICS_HEADERS = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)
_PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    # The page fetches nothing but itself; its icon is the empty one in it.
    (
        b"content-security-policy",
        b"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
    ),
)


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


class RestApp:
    """Answers the requests of one event loop.

    Attributes:
        port: Port of REST, for the page.
        grpc_address: Address of the gRPC edge, for the page.
    """

    def __init__(self, plane: DataPlane, options: RestOptions, on_access: OnAccess) -> None:
        self._plane, self._options = plane, options
        self._api = RestApi(plane, on_access, options.max_body_bytes)
        self._bodies = Bodies(options.max_body_bytes)
        self._workers = RestWorkers(options.threads, "rest")
        self._readers = RestWorkers(_READ_THREADS, "rest-get")
        self._may_run_here = on_access is no_access_log  # a log may have to wait for its reader
        self._quick: set[str] = set()  # targets whose last answer took no longer than handing it to a thread
        self.port = 0
        self.grpc_address: str | None = None

    def shutdown(self) -> None:
        """Wait until all that was asked for has run."""
        for workers in (self._workers, self._readers):
            workers.shutdown()

    def may_be_quick(self, target: bytes, headers: list[tuple[bytes, bytes]], size: int) -> bool:
        """Whether `answer_at_once` may answer a POST of so many bytes."""
        if size > MAX_QUICK_BYTES or target.decode("latin-1") not in self._quick:
            return False
        return all(name != b"content-encoding" for name, _ in headers)

    def answer_at_once(self, target: bytes, body: bytearray) -> Reply | None:
        """The reply to a POST for which `may_be_quick`; None if others might have to wait for it.

        The event loop makes it, which costs a fraction of what handing it to a thread and back does.
        """
        path = target.decode("latin-1")
        if len(body) > self._options.max_body_bytes:
            return None
        try:
            reply = json_reply(self._api.respond("POST", path, body, always, at_once=True))
        except NotQuickError:
            self._quick.discard(path)
            return None
        return _with_cors(reply) if self._options.cors else reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            reply = await self._answer(scope, receive)
        except asyncio.CancelledError:  # by uvicorn, after the grace; it would answer 500 in plain text
            reply = json_reply(refused(StatusError(Code.UNAVAILABLE, "the server ends")))
        with contextlib.suppress(asyncio.CancelledError):
            await send_reply(reply, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        try:
            return await self._respond(scope, receive)
        except UnreadError as refusal:
            return json_reply(refused(refusal.status), is_early=True)
        except DisconnectedError:
            return Reply(499)
        except Exception as error:
            return json_reply(refused(status_of(error)))

    async def _respond(self, scope: Scope, receive: Receive) -> Reply:
        if scope["method"] not in METHODS:
            return html_reply(501, "Not Implemented", f"{scope['method'][:20]} is not a method of this server.")
        target = _target(scope)
        head = len(target)
        for name, value in scope["headers"]:
            head += len(name) + len(value) + 4
        if head > MAX_HEAD_BYTES:
            help_text = f"The path and the headers may have {MAX_HEAD_BYTES} bytes."
            return html_reply(431, "Request Header Fields Too Large", help_text)
        if not _TARGET.fullmatch(target):
            return html_reply(400, "Bad Request", "The path is not a valid URI; escape other characters by %.")
        reply = await self._respond_to(scope, receive, target)
        return _with_cors(reply) if self._options.cors and target.lower().startswith("/v1/") else reply

    async def _respond_to(self, scope: Scope, receive: Receive, target: str) -> Reply:
        method, path = scope["method"], target.partition("?")[0]
        if method in ("GET", "HEAD"):
            if path == self._options.metrics_path:  # which may be below /v1/
                if target != path:
                    return Reply(400, f"Unexpected path: {target}. Should be {path}".encode(), _METRICS_HEADERS)
                return Reply(200, self._plane.metrics.exposition(), _METRICS_HEADERS)
            if path == "/":
                text = render(self._plane, self.grpc_address, self.port, self._options.metrics_path)
                return Reply(200, text.encode(), _PAGE_HEADERS)
        if not path.lower().startswith("/v1/"):
            return html_reply(404, "Not Found", "Models are at /v1/models/MODEL, a page about them is at /.")
        headers = dict(reversed(scope["headers"]))  # of equal names the first
        if method == "OPTIONS":
            is_allowed = _ORIGIN.match(headers.get(b"origin", b"").decode("latin-1")) is not None
            self._plane.count("", "", "REST", Code.OK if is_allowed else Code.FAILED_PRECONDITION, 0.0)
            return Reply(200 if is_allowed else 400, b"", _EMPTY_HEADERS)
        cycle = getattr(receive, "__self__", None)  # uvicorn's, which knows what has come, and if the client has gone
        seconds = self._options.timeout_seconds
        until = time.monotonic() + seconds if seconds > 0 else math.inf
        is_here = not getattr(cycle, "more_body", True)
        body = await self._bodies.read(receive, int(headers.get(b"content-length", 0)), seconds, is_here=is_here)
        is_packed = b"gzip" in headers.get(b"content-encoding", b"")  # as TF Serving looks at it

        def alive() -> bool:
            return time.monotonic() < until and not getattr(cycle, "disconnected", False)

        respond = partial(self._api.respond, method, target, body, alive, is_packed)
        return json_reply(await self._work(method, target, respond, len(body), until))

    async def _work(self, method: str, target: str, respond: Callable[[], Answer], size: int, until: float) -> Answer:
        """Answer in a thread."""
        workers, loop = self._workers if method == "POST" else self._readers, asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()

        def submit(let_go: Callable[[], None]) -> None:
            def end(result: Answer | None, error: BaseException | None) -> None:
                let_go()
                settle(waiting, result, error)

            workers.run(respond, loop, end)

        try:
            self._bodies.work(size, submit)
        except RuntimeError as error:
            raise StatusError(Code.RESOURCE_EXHAUSTED, f"{first_line(error)}; try later") from error
        timer = None
        if until < math.inf:
            over = StatusError(Code.DEADLINE_EXCEEDED, f"no answer within {self._options.timeout_seconds:g} s")
            timer = loop.call_later(max(0.0, until - time.monotonic()), settle, waiting, None, over)
        try:
            answer = await waiting
        finally:
            if timer is not None:
                timer.cancel()
        if answer.is_quick and self._may_run_here and len(self._quick) < _MAX_QUICK_TARGETS:
            self._quick.add(target)
        return answer


def _with_cors(reply: Reply) -> Reply:
    return reply._replace(headers=(*reply.headers, *_CORS_HEADERS))


def _target(scope: Scope) -> str:
    """Path and query as they were sent, still escaped; of a whole URL (RFC 9112, 3.2.2) these parts."""
    target: str = scope["target"].decode("latin-1")
    if target.startswith("/"):
        return target
    target = _ORIGIN.sub("", target)
    return target if target.startswith("/") else f"/{target}"
