"""Which calls of a version take so little time that the event loop makes them itself."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress

from attnexport.core.signature import Arrays

_QUICK_SECONDS = 0.0003  # less than handing the call to a thread and back costs several requests at once
_ENOUGH = 16  # quick calls in a row
_MAX_KINDS = 256  # that are remembered


class Pace:
    """Measures calls by kind: a signature and the shapes of its inputs, which decide how long a steady model takes.

    A kind is quick after a number of quick calls in a row, and no longer after one that is not. Several threads may
    measure at once; a count that is lost delays that by a call.

    Args:
        is_steady: Whether calls of a kind take the same time. Otherwise none is quick.

    Example:
        >>> import numpy as np
        >>> pace = Pace(is_steady=True)
        >>> kind = pace.kind("serving_default", {"x": np.zeros((1, 3))})
        >>> for _ in range(20):
        ...     pace.add(kind, 0.0001)
        >>> pace.is_quick(kind)
        True
        >>> pace.add(kind, 0.01)
        >>> pace.is_quick(kind)
        False
    """

    def __init__(self, *, is_steady: bool) -> None:
        self._is_steady = is_steady
        self._quick: dict[Hashable, int] = {}  # quick calls in a row

    def kind(self, signature: str, inputs: Arrays) -> Hashable | None:
        """The kind of a call; None if it has strings, whose lengths no shape tells."""
        if any(array.dtype.kind in "OSU" for array in inputs.values()):
            return None
        return (signature, *[(name, array.shape) for name, array in inputs.items()])

    def add(self, kind: Hashable | None, seconds: float) -> None:
        """Measure a call that ended: the seconds that its thread computed."""
        if kind is None:
            return
        if seconds > _QUICK_SECONDS:
            self._quick.pop(kind, None)
        elif self._is_steady:
            if kind not in self._quick and len(self._quick) >= _MAX_KINDS:
                with suppress(KeyError, RuntimeError, StopIteration):  # another thread changes it
                    del self._quick[next(iter(self._quick))]
            self._quick[kind] = self._quick.get(kind, 0) + 1

    def is_quick(self, kind: Hashable | None) -> bool:
        """Whether the last calls of this kind were quick."""
        return self._quick.get(kind, 0) >= _ENOUGH
