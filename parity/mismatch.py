"""What two outputs must share before their numbers can be compared: names, shape, type, and that they are numbers."""

from __future__ import annotations

import numpy as np

from attnexport.core.errors import one_of
from attnexport.core.signature import Arrays, dtype_name, format_shape

from .metrics import Array


def is_float(array: Array) -> bool:
    """Whether its numbers are judged by a budget; everything else must be equal."""
    return bool(array.dtype.kind == "f" or array.dtype.name == "bfloat16")


def names_mismatch(expected: Arrays, actual: Arrays) -> str | None:
    """That the outputs are called otherwise, None where they are not."""
    if expected.keys() == actual.keys():
        return None
    return f"there is {one_of(sorted(actual))}, where {one_of(sorted(expected))} is wanted"


def mismatch(expected: Array, actual: Array) -> str | None:
    """What is wrong with an output apart from its floats: shape, type, or a value that must be equal."""
    if expected.shape != actual.shape:
        return f"shape {format_shape(actual.shape)}, where {format_shape(expected.shape)} is wanted"
    if dtype_name(expected) != dtype_name(actual):
        return f"dtype {dtype_name(actual)}, where {dtype_name(expected)} is wanted"
    if not is_float(expected):
        differ = np.argwhere(np.asarray(expected != actual))
        return f"differs at {len(differ)} places, first at {differ[0].tolist()}" if len(differ) else None
    return None


def not_finite(actual: Array) -> str | None:
    """Where an output of floats holds NaN or infinity, None where it does not."""
    wrong = np.argwhere(~np.isfinite(actual.astype(np.float64)))
    return f"holds NaN or infinity at {wrong[0].tolist()}" if len(wrong) else None
