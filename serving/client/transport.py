"""What carries the calls of a client: the interface of a transport, in bytes. gRPC is one, `MockTransport` another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Call:
    """One remote call to one server.

    Attributes:
        address: The server, `HOST:PORT`.
        path: The method's path on the wire, such as `/tensorflow.serving.PredictionService/Predict`.
        request: The bytes of the request message.
        timeout: Seconds until the call fails.
        metadata: Headers: name and value.
    """

    address: str
    path: str
    request: bytes
    timeout: float
    metadata: tuple[tuple[str, str | bytes], ...] = ()

    @property
    def method(self) -> str:
        """The method's name, such as `Predict`.

        Example:
            >>> Call("127.0.0.1:8500", "/tensorflow.serving.PredictionService/Predict", b"", 30.0).method
            'Predict'
        """
        return self.path.rpartition("/")[2]


class Transport(Protocol):
    """Carries the calls of a `Client`, from any number of threads. Pass yours as `Client(..., transport=)`.

    A transport makes one attempt: the client retries, balances over its addresses and keeps the deadline. It may have a
    method `start` as well (see `ConcurrentTransport`); otherwise the parts of a large batch are sent from threads.
    """

    def send(self, call: Call) -> bytes:
        """Make a call, and return the bytes of the response message.

        Raises:
            UnavailableError: if the server cannot be reached; the client tries another address, or again.
            ServingError: for any other failure.
        """

    def close(self) -> None:
        """Close the connections; calls in progress fail."""


class AsyncTransport(Protocol):
    """Carries the calls of an `AsyncClient`; see `Transport`."""

    async def send_async(self, call: Call) -> bytes:
        """Make a call, as `Transport.send` does."""

    async def close_async(self) -> None:
        """Close the connections; calls in progress fail."""


class PendingReply(Protocol):
    """A call in progress; `concurrent.futures.Future` is one."""

    def result(self) -> bytes:
        """The bytes of the response message; raises as `Transport.send` does."""

    def cancel(self) -> object:
        """End the call if it has not ended."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> object:
        """Call `callback` when the call ends, or at once if it has."""


class ConcurrentTransport(Transport, Protocol):
    """A transport that makes several calls at once without threads of its own."""

    def start(self, call: Call) -> PendingReply:
        """Start a call without waiting for its reply."""
