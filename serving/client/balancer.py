"""Which server gets the next request."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from itertools import count

_REST = 2.0  # seconds; about as long as a server takes to restart, and short enough to notice that it did


class Balancer:
    """Addresses in turn; one that failed rests, unless all do.

    Used by several threads at once: what it changes is changed in single steps.
    """

    def __init__(self, addresses: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.addresses = tuple(addresses)
        self._turn = count()
        self._clock = clock
        self._rests_until: dict[int, float] = {}

    def pick(self, tried: Container[int] = ()) -> int:
        """The index of the next address that was not tried: one that does not rest, if there is any."""
        size = len(self.addresses)
        turn = next(self._turn)
        order = [(turn + step) % size for step in range(size)]
        fresh = [index for index in order if index not in tried] or order
        now = self._clock()
        awake = [index for index in fresh if self._rests_until.get(index, now) <= now]
        return (awake or fresh)[0]

    def failed(self, index: int) -> None:
        """Let an address rest."""
        self._rests_until[index] = self._clock() + _REST

    def answered(self, index: int) -> None:
        """An address is well."""
        self._rests_until.pop(index, None)
