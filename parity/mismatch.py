"""What two outputs must share before their numbers are compared: names, shape, dtype, and finite values."""

from __future__ import annotations

import numpy as np

from attnexport.core.signature import Array, Arrays, dtype_name, format_shape


def is_float(array: Array) -> bool:
    """Whether an output is held to a budget of error; values of all other dtypes are equal or not."""
    return bool(array.dtype.kind == "f" or array.dtype.name == "bfloat16")


def names_mismatch(expected: Arrays, actual: Arrays) -> str | None:
    """That outputs have other names; None if they have the same."""
    if expected.keys() == actual.keys():
        return None
    return f"outputs {_listed(actual)} instead of {_listed(expected)}"


def mismatch(expected: Array, actual: Array, least_equal: float = 1.0) -> str | None:
    """What differs apart from floats: shape, dtype, or values that must be equal; None if nothing does.

    Args:
        expected: The original's output.
        actual: The artifact's.
        least_equal: The share of integers or booleans that must be equal, 0 to 1; see `budgets.least_equal`.
    """
    if expected.shape != actual.shape:
        return f"shape {format_shape(actual.shape)} instead of {format_shape(expected.shape)}"
    if dtype_name(expected) != dtype_name(actual):
        return f"dtype {dtype_name(actual)} instead of {dtype_name(expected)}"
    if not is_float(expected):
        differ = np.argwhere(np.asarray(expected != actual))
        if expected.dtype.kind in "iub" and len(differ) <= (1 - least_equal) * expected.size:
            return None
        needed = f" of {expected.size} ({least_equal:.0%} must be equal)" if least_equal < 1 else ""
        return f"differs in {len(differ)} values{needed}, the first at {differ[0].tolist()}" if len(differ) else None
    return None


def not_finite(actual: Array) -> str | None:
    """The first place where an output of floats holds NaN or infinity; None if it is finite."""
    wrong = np.argwhere(~np.isfinite(actual.astype(np.float64)))
    return f"holds NaN or infinity at {wrong[0].tolist()}" if len(wrong) else None


def _listed(outputs: Arrays) -> str:
    return ", ".join(map(repr, sorted(outputs)))
