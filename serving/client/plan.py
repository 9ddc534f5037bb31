"""Plans: what a client does, without doing it.

A plan is a generator that yields effects and is sent their results. The base of the clients is written in plans alone;
the shells, one blocking and one for asyncio, carry the effects out.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from attnexport.core.errors import ArgumentError, DeadlineError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Call:
    """One remote call at one address; its result is the reply's bytes, its failure a ServingError.

    Attributes:
        address: Index of the address.
        path: The method's.
        request: The message's bytes.
        timeout: In seconds.
    """

    address: int
    path: str
    request: bytes
    timeout: float


@dataclass(frozen=True)
class Sleep:
    """A pause in seconds."""

    seconds: float


@dataclass(frozen=True)
class Together:
    """Plans to carry out at the same time, `limit` of them at most; the result is the list of theirs, in order.

    They yield calls and pauses only. The first failure ends all.
    """

    plans: Sequence[Plan[Any]]
    limit: int


Effect = Call | Sleep | Together
Plan = Generator[Effect, Any, Result]


class Deadline:
    """A point in time that everything of one call of the user's ends at."""

    def __init__(self, seconds: float) -> None:
        check_seconds("timeout", seconds)
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then, negative when it has passed."""
        return self._end - time.monotonic()

    def check(self, what: str) -> float:
        """Seconds until then, or a DeadlineError."""
        left = self.left()
        if left <= 0:
            raise DeadlineError(f"{what}: no answer within {self.seconds:g} s")
        return left

    def at_most(self, seconds: float) -> Deadline:
        """This one, or a nearer one."""
        return Deadline(min(seconds, max(self.left(), 0.001)))


def check_seconds(name: str, value: float) -> float:
    """The value itself where it is a finite number of seconds above 0, else an ArgumentError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**8:
        raise ArgumentError(f"{name} must be a number of seconds above 0; received {value!r}")
    return value
