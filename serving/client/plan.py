"""Plans: what a client does, apart from how it is carried out.

A plan is a generator that yields effects (a call, a pause, several plans at once) and is sent their results. Retries,
balancing and errors are written once, as plans; `run_blocking` and `run_asyncio` carry them out over a transport.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from attnexport.core.errors import ArgumentError, DeadlineError

from .transport import Call

Result = TypeVar("Result")


@dataclass(frozen=True)
class Sleep:
    """A pause in seconds."""

    seconds: float


@dataclass(frozen=True)
class Concurrent:
    """Plans to carry out at the same time, at most `limit` of them at once; the result is the list of their results.

    They yield calls and pauses only. The first failure ends all.
    """

    plans: Sequence[Plan[Any]]
    limit: int


# The result of a Call is the reply's bytes, its failure a ServingError.
Effect = Call | Sleep | Concurrent
Plan = Generator[Effect, Any, Result]


class Deadline:
    """When a call of the user's ends, with all its retries and parts."""

    def __init__(self, seconds: float) -> None:
        check_seconds("timeout", seconds)
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left; negative when it has passed."""
        return self._end - time.monotonic()

    def check(self, what: str) -> float:
        """Seconds that are left.

        Raises:
            DeadlineError: if it has passed, beginning with `what`.
        """
        left = self.left()
        if left <= 0:
            raise DeadlineError(f"{what}: no answer within {self.seconds:g} s")
        return left

    def at_most(self, seconds: float) -> Deadline:
        """A deadline `seconds` from now, or this one if it is nearer."""
        return Deadline(min(seconds, max(self.left(), 0.001)))


def check_seconds(name: str, value: float) -> float:
    """Return a number of seconds, finite and above 0.

    Raises:
        ArgumentError: for anything else, naming the option.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**8:
        raise ArgumentError(f"{name} must be a number of seconds above 0; received {value!r}")
    return value
