"""Bodies of REST requests: read within limits, held until the work at them ends, dropped where they are refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .edges import MAX_WAITING
from .rest_api import BodyError, too_large
from .status import Code, StatusError

_MAX_HELD = 8  # times the largest body: all bodies that are read, wait or run
_SMALL = 1 << 16  # bytes; a body up to here is read whatever the others hold
_BODY_SECONDS = 30.0  # for reading a body where requests have no limit, or dropping one that is refused


class UnreadError(Exception):
    """A body that is refused before all of it is here.

    Attributes:
        status: Why.
    """

    def __init__(self, status: StatusError) -> None:
        super().__init__(str(status))
        self.status = status


class Bodies:
    """The bodies of all requests, of at most `largest` bytes each. Of one event loop."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._held = self._waiting = 0  # the bytes of all, and how many have work that waits or runs

    async def read(self, request: Request, seconds: float) -> bytearray:
        """The body of a request, which is held until `work` at it ends.

        Args:
            request: A request whose body has not been read.
            seconds: Time limit; 30 if 0 or less.

        Raises:
            BodyError: if it does not arrive in time, or is too large.
            StatusError: if other bodies hold too much memory.
            UnreadError: for either of these, if more of the body follows.
            ClientDisconnect: if the client is gone.
        """
        limit = seconds if seconds > 0 else _BODY_SECONDS
        try:
            async with asyncio.timeout(limit):
                return await self._read(request)
        except TimeoutError:
            raise BodyError(408, f"the body did not come within {limit:g} s") from None

    async def _read(self, request: Request) -> bytearray:
        body, more = bytearray(), True  # rather than chunks, which may be of a byte each
        try:
            if int(request.headers.get("content-length", 0)) > self._largest:
                raise too_large(self._largest)
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk, more = message.get("body", b""), message.get("more_body", False)
                body += chunk
                self._held += len(chunk)
                if len(body) > self._largest:
                    raise too_large(self._largest)
                if len(body) > _SMALL and self._held > _MAX_HELD * self._largest:
                    raise StatusError(Code.RESOURCE_EXHAUSTED, "too many large bodies are held here; try later")
        except BaseException as error:
            self._held -= len(body)
            if more and isinstance(error, StatusError):
                raise UnreadError(error) from error
            raise
        return body

    def work(self, size: int, submit: Callable[[Callable[[], None]], None]) -> None:
        """Submit the work at a body that was read.

        The body is held until the work ends, not until its client is answered: what waits for a thread has it for so
        long.

        Args:
            size: The size of the body.
            submit: Called with what the work calls at its end, in the event loop.

        Raises:
            StatusError: if too much work runs or waits.
        """
        try:
            if self._waiting >= MAX_WAITING:
                raise StatusError(Code.RESOURCE_EXHAUSTED, "too many requests wait here; try later")
            submit(partial(self._let_go, size))
        except BaseException:
            self._held -= size
            raise
        self._waiting += 1

    def _let_go(self, size: int) -> None:
        self._waiting -= 1
        self._held -= size


class Unread(Response):
    """An answer to a request whose body still comes: it is dropped, since few clients read before they have sent it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BODY_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body"})
