"""Messages like an earlier one: what surrounds their values is compared with it rather than read again.

A client asks the same of the same model again and again; only the values differ from one message to the next. All else
decides how a message is read, and values are opaque to that, so equal surroundings have the equal meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from attnexport.core.signature import Arrays

from .wire import Array

Meaning = TypeVar("Meaning")

_MOST_AROUND = 1024  # bytes, beside the values
_MOST_LENGTHS = 256
_MOST_ALIKE = 8  # framings of messages of one length


@dataclass(frozen=True)
class Framing(Generic[Meaning]):
    """How messages lie that differ in their values alone.

    Attributes:
        meaning: What they say beside the values.
        around: The bytes before, between and behind the values: where each piece begins and ends, and the piece.
        arrays: Of the values: name, dtype, where they begin, shape.
    """

    meaning: Meaning
    around: tuple[tuple[int, int, bytes], ...]
    arrays: tuple[tuple[str, np.dtype[Any], int, tuple[int, ...]], ...]


class Framings(Generic[Meaning]):
    """The framings that were met. Several threads may use it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Framing[Meaning], ...]] = {}  # by the length of their messages

    def read(self, data: bytes) -> tuple[Meaning, Arrays] | None:
        """What a message says and its arrays, read-only, or None where none was met that it is like."""
        for framing in self._known.get(len(data), ()):
            for begin, end, there in framing.around:
                if data[begin:end] != there:
                    break
            else:
                arrays: Arrays = {}
                for name, dtype, begin, shape in framing.arrays:
                    arrays[name] = np.ndarray(shape, dtype, data, begin)
                return framing.meaning, arrays
        return None

    def remember(self, data: bytes, meaning: Meaning, arrays: Arrays) -> None:
        """Keep how a message lies that was read as this, where each array is a part of its bytes as they are.

        What is kept is kept for good: were it given up for others, senders of many lengths would pay for each message.
        """
        alike = self._known.get(len(data), ())
        full = len(alike) >= _MOST_ALIKE or (not alike and len(self._known) >= _MOST_LENGTHS)
        # Objects are no part of the bytes, and a boolean is looked at.
        if full or any(array.dtype.kind in "Ob" for array in arrays.values()):
            return
        found = _framing(data, meaning, arrays)
        if found is not None:
            self._known[len(data)] = (found, *alike)


def _framing(data: bytes, meaning: Meaning, arrays: Arrays) -> Framing[Meaning] | None:
    if not arrays or len(data) - sum(array.nbytes for array in arrays.values()) > _MOST_AROUND:
        return None
    start = _address(np.frombuffer(data, np.uint8))
    parts, spans = [], []
    for name, array in arrays.items():
        begin = _address(array) - start
        if not array.nbytes or not 0 <= begin <= len(data) - array.nbytes:
            return None  # it was computed from the bytes
        parts.append((name, array.dtype, begin, array.shape))
        spans.append((begin, begin + array.nbytes))
    gaps, end = [], 0
    for begin, behind in sorted(spans):
        if begin < end:
            return None  # two inputs never share their values
        gaps.append((end, begin))
        end = behind
    gaps.append((end, len(data)))
    return Framing(meaning, tuple((begin, end, data[begin:end]) for begin, end in gaps), tuple(parts))


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
