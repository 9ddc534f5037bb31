"""Connections by httptools, which answer small requests to quick models on the spot.

uvicorn makes a task, an event, a scope and two messages of each request, and a thread runs the model: several times the
work of a small model's call. A small request to a model that was measured to be quick needs none of these.
"""

from __future__ import annotations

from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .rest_app import MAX_QUICK_BYTES, RestApp
from .rest_connections import MAX_HEAD_BYTES, Limited
from .rest_replies import Reply

_PATIENCE_SECONDS = 0.05  # for the rest of a request that may be answered on the spot: many clients send its body apart
_FRAMING = 8  # bytes of chunk sizes and line ends for each byte of a body: a chunk of one byte has five


class _Event:
    def set(self) -> None:
        """Nobody waits for it."""


class _Answered:
    """What uvicorn looks at of a request that was answered on the spot."""

    response_complete, message_event = True, _Event()


class LimitedHttpTools(Limited, HttpToolsProtocol):  # type: ignore[misc]
    """By httptools, with the bytes counted that are no body."""

    _extra = 0
    _is_answered = False  # a request in what is being read; those behind it let others come first
    _body: bytearray | None = None  # of a request that may be answered on the spot, until all of it is here

    def data_received(self, data: bytes) -> None:
        before, self._is_answered = self.cycle, False
        self._extra += len(data)
        super().data_received(data)
        if self.cycle is not before:
            self._extra = 0
        elif self._extra > MAX_HEAD_BYTES and self._is_in_body():
            self.send_400_response("")
        elif self._extra > MAX_HEAD_BYTES:
            help_text = f"Headers and trailers may have {MAX_HEAD_BYTES} bytes."
            self.refuse(431, "Request Header Fields Too Large", help_text)

    def on_headers_complete(self) -> None:
        is_first = not self._is_answered and (self.cycle is None or self.cycle.response_complete)
        if is_first and self._app.may_be_quick(self.url, self.headers, len(self.data)) and self._is_simple():
            self.end_timer()
            self._body = bytearray()
        else:
            self._start()

    def on_body(self, body: bytes) -> None:
        if self._body is not None:
            if len(self._body) + len(body) <= MAX_QUICK_BYTES:
                self._body += body
                return
            self._hand_over()
        self._extra = max(0, self._extra - _FRAMING * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._body is not None:
            reply = self._app.answer_at_once(self.url, self._body)
            if reply is not None:
                self._body, self._is_answered = None, True
                self.cycle = _Answered()
                self._send(reply)
                self.on_response_complete()
                return
            self._hand_over()
        super().on_message_complete()

    def limit_time(self) -> None:
        if self._body is None:
            super().limit_time()
        else:
            self.timer = self.loop.call_later(_PATIENCE_SECONDS, self._hand_over)

    def refuse(self, status: int, title: str, help_text: str) -> None:
        super().refuse(status, title, help_text)
        self._body = None  # a refused request is not handed to the app
        self.end_timer()

    def shutdown(self) -> None:
        if self._body is not None:
            self._hand_over()
        super().shutdown()

    def connection_lost(self, error: Exception | None) -> None:
        self._body = None
        super().connection_lost(error)

    @property
    def _app(self) -> RestApp:
        return cast(RestApp, self.config.app)  # `self.app` may be one of uvicorn's around it

    def _is_in_body(self) -> bool:
        return self._body is not None or super()._is_in_body()

    def _is_simple(self) -> bool:
        """Whether a request asks for nothing but an answer."""
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _send(self, reply: Reply) -> None:
        content = [STATUS_LINE[reply.status]]
        for name, value in (*self.server_state.default_headers, *reply.headers):
            content += (name, b": ", value, b"\r\n")
        content += (b"content-length: %d\r\n\r\n" % len(reply.body), reply.body)
        self.transport.write(b"".join(content))

    def _hand_over(self) -> None:
        """Let uvicorn have the request after all, with what has come of its body."""
        body, self._body = self._body, None
        self.end_timer()
        self._start()
        if body:
            self.on_body(bytes(body))

    def _start(self) -> None:
        # The target goes on as it was sent: httptools would refuse some that are answered, and cut others.
        target, self.url = self.url, b"/"
        super().on_headers_complete()
        scope: Any = self.scope
        scope["target"] = target
