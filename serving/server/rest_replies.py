"""What the REST edge sends, as the messages of ASGI: a framework's requests and responses cost as much as a model."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from .rest_api import Answer
from .rest_connections import page

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

DROP_SECONDS = 30.0  # for the rest of a body that is refused
_JSON: Headers = ((b"content-type", b"application/json"),)
_HTML: Headers = ((b"content-type", b"text/html"),)
_CLOSE: Headers = ((b"connection", b"close"),)


class DisconnectedError(Exception):
    """The client has gone before its request was whole."""


class Reply(NamedTuple):
    """An HTTP response.

    Attributes:
        status: The HTTP status.
        body: All of the body.
        headers: Headers, without the length of the body.
        is_early: Whether the body of the request still comes. It is dropped, since few clients read before they have
            sent everything.
    """

    status: int
    body: bytes = b""
    headers: Headers = ()
    is_early: bool = False


def json_reply(answer: Answer, *, is_early: bool = False) -> Reply:
    """An answer of the API."""
    # What is left of a body may never come, and the connection would wait for it.
    headers = _JSON + _CLOSE if is_early or answer.status == 408 else _JSON
    return Reply(answer.status, answer.body.encode("utf-8", "surrogateescape"), headers, is_early)


def html_reply(status: int, title: str, help_text: str) -> Reply:
    """The page of an error outside of the API."""
    return Reply(status, page(status, title, help_text), _HTML)


async def send_reply(reply: Reply, receive: Receive, send: Send) -> None:
    """Send a reply whole."""
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": reply.is_early})
    if reply.is_early:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DROP_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body"})
