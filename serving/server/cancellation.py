"""Whether somebody still waits for an answer."""

from __future__ import annotations

from collections.abc import Callable

from .status import Code, StatusError

Alive = Callable[[], bool]


def always() -> bool:
    """That somebody waits for the answer."""
    return True


def abandoned() -> StatusError:
    """A request whose client has gone, or has had its time."""
    return StatusError(Code.DEADLINE_EXCEEDED, "nobody waits for this request any more")


def check_alive(alive: Alive) -> None:
    """Go on only for somebody.

    Raises:
        StatusError: where nobody waits.
    """
    if not alive():
        raise abandoned()
