"""Bodies of REST requests: read within limits, and held until the work at them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from .edges import MAX_WAITING
from .rest_api import BodyError, too_large
from .rest_replies import DisconnectedError, Receive
from .status import Code, StatusError

_MAX_HELD = 8  # times the largest body: all bodies that are read, wait or run
_SMALL = 1 << 16  # bytes; a body up to here is read whatever the others hold
_BODY_SECONDS = 30.0  # for reading a body where requests have no limit


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

    async def read(self, receive: Receive, length: int, seconds: float, *, is_here: bool = False) -> bytearray:
        """The body of a request, which is held until `work` at it ends.

        Args:
            receive: Of a request whose body has not been read.
            length: The length that its headers promise, 0 if they do not.
            seconds: Time limit; 30 if 0 or less.
            is_here: Whether all of it has come, so that no time has to be limited.

        Raises:
            BodyError: if it does not arrive in time, or is too large.
            StatusError: if other bodies hold too much memory.
            UnreadError: for either of these, if more of the body follows.
            DisconnectedError: if the client is gone.
        """
        if is_here:
            return await self._read(receive, length)
        limit = seconds if seconds > 0 else _BODY_SECONDS
        try:
            async with asyncio.timeout(limit):
                return await self._read(receive, length)
        except TimeoutError:
            raise BodyError(408, f"the body did not come within {limit:g} s") from None

    async def _read(self, receive: Receive, length: int) -> bytearray:
        body, more = bytearray(), True  # rather than chunks, which may be of a byte each
        try:
            if length > self._largest:
                raise too_large(self._largest)
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise DisconnectedError
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
