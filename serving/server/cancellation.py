"""Whether a client still waits for an answer."""

from __future__ import annotations

from collections.abc import Callable

from .status import Code, StatusError

Alive = Callable[[], bool]


def always() -> bool:
    """A client that waits for ever."""
    return True


def abandoned() -> StatusError:
    """The error of a request whose client has gone or whose deadline has passed."""
    return StatusError(Code.DEADLINE_EXCEEDED, "the client disconnected or the deadline passed")


def check_alive(alive: Alive) -> None:
    """Go on only if the client still waits.

    Raises:
        StatusError: DEADLINE_EXCEEDED if it does not.
    """
    if not alive():
        raise abandoned()
