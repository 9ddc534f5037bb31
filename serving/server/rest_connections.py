"""HTTP/1.1 connections whose clients may be slow or hostile: uvicorn's, with limits of bytes and time.

uvicorn bounds neither the time in which the headers of a request come nor, with httptools, their size.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import Any, cast

HEAD_SECONDS = 30.0  # for the request line and the headers
MAX_HEAD_BYTES = 1 << 16  # of these together; also of what surrounds a body, such as trailers
_UNSENT_SECONDS = 120  # that a client may leave an answer unread
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
_BOTH = {b"content-length", b"transfer-encoding"}
METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")
_METHOD = re.compile(rb"\s*([!-~]+) ")


def page(status: int, title: str, help_text: str) -> bytes:
    """The page of an error outside of the API, as TF Serving's HTTP server answers it."""
    return (
        f"<HTML><HEAD>\n<TITLE>{status} {title}</TITLE>\n</HEAD><BODY>\n<H1>{title}</H1>\n<P>{help_text}</P>\n"
        "</BODY></HTML>\n"
    ).encode()


def listen(listening: socket.socket) -> None:
    """Set options of a listening socket that its connections inherit."""
    # A small answer is not held back until the client has acknowledged the one before, which takes 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A connection ends whose other end is gone, or does not read.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    values = {**_KEEPALIVE, "TCP_USER_TIMEOUT": _UNSENT_SECONDS * 1000}
    for name, value in values.items():
        if option := getattr(socket, name, None):  # not every system has each
            with contextlib.suppress(OSError):
                listening.setsockopt(socket.IPPROTO_TCP, option, value)


class Limited:
    """What both have: a time limit for the head of a request, and TF Serving's pages for what is not HTTP.

    A subclass comes before uvicorn's protocol, whose `cycle` is replaced when the headers of a request are complete.

    Attributes:
        data: What is being read.
        timer: Ends the wait for the rest of a head.
    """

    timer: asyncio.TimerHandle | None = None
    data = b""
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        self.limit_time()

    def connection_lost(self, error: Exception | None) -> None:
        self.end_timer()
        super().connection_lost(error)  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        before, self.data = self.cycle, data
        super().data_received(data)  # type: ignore[misc]
        self.data = b""
        if self.cycle is not before:
            self.end_timer()
        elif self.timer is None and (before is None or before.response_complete):
            self.limit_time()  # the head of a later request, of which only a part is here

    def send_400_response(self, message: str) -> None:
        found = _METHOD.match(self.data)
        method = found[1].decode("ascii") if found else ""
        if self._is_in_body():
            # The status that TF Serving's HTTP server has for chunks that it cannot read, too long or not.
            self.refuse(413, "Request Entity Too Large", "The chunks of the body are too long, or not valid HTTP.")
        elif self.cycle is None and method and method not in METHODS:
            self.refuse(501, "Not Implemented", f"{method[:20]} is not a method of this server.")
        else:
            self.refuse(400, "Bad Request", "The request is not valid HTTP.")

    def refuse(self, status: int, title: str, help_text: str) -> None:
        """Answer what is not a request, and end the connection."""
        if self.transport.is_closing():
            return
        # Else this would be in the middle of an answer, or before that to an earlier request.
        if self.cycle is None or self.cycle.response_complete or self._is_in_body():
            body = page(status, title, help_text)
            head = f"HTTP/1.1 {status} {title}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
            self.transport.write(f"{head}Connection: close\r\n\r\n".encode() + body)
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True  # nothing more is sent
        self.transport.close()

    def _is_in_body(self) -> bool:
        """Whether the body of the request is arriving that is the next to be answered."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or getattr(self, "pipeline", None):
            return False
        return cycle.more_body and not cycle.response_started

    def limit_time(self) -> None:
        """Wait for the rest of a head, for a time."""
        self.timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def end_timer(self) -> None:
        """Wait no longer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _too_slow(self) -> None:
        self.refuse(408, "Request Timeout", f"The headers did not come within {HEAD_SECONDS:g} s.")


def h11_protocol() -> type[asyncio.Protocol]:
    """The protocol of a connection where httptools is not installed."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Strict(h11.Connection):
        """Refuses two ways to tell where a body ends, as httptools does: a proxy in front may have taken the other.

        Attributes:
            target: That of the newest request, as it was sent.
        """

        target = b""

        def next_event(self) -> Any:
            event = super().next_event()
            if isinstance(event, h11.Request):
                if {name for name, _ in event.headers} >= _BOTH:
                    raise h11.RemoteProtocolError("a body with a length and with chunks")
                self.target = event.target
            return event

    class LimitedH11(Limited, H11Protocol):  # type: ignore[misc]
        """By h11, which bounds the bytes itself (`h11_max_incomplete_event_size`)."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.conn.__class__ = Strict

        def handle_events(self) -> None:
            super().handle_events()
            scope, connection = cast(Any, self.scope), cast(Strict, self.conn)
            if scope:
                scope["target"] = connection.target

    return LimitedH11
