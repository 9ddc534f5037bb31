"""No number that is converted differs from the one that was given, or there is an error that names it."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attnexport.core.exact import exact_array

INTEGERS = ("int4", "uint4", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")
NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65),
    st.integers(-300, 300),
    st.floats(width=64),
    st.floats(width=16, allow_nan=False),
    st.booleans(),
    st.sampled_from([2**24 + 1, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 2**31, 1e300, 0.1, -0.0]),
)


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def fraction(value: Any) -> Fraction | str:
    """Any number exactly, for comparison across types."""
    number = float(value) if not isinstance(value, bool | int | np.integer | np.bool) else int(value)
    return Fraction(number) if math.isfinite(number) else str(number)


@settings(max_examples=500)
@given(st.lists(NUMBERS, max_size=5), st.sampled_from((*INTEGERS, *FLOATS, "bool")))
@example([2**64], "bfloat16")
@example([2**64 + 1], "bfloat16")
@example([-(2**65)], "float8_e5m2")
def test_what_comes_out_is_what_went_in_or_an_error_names_a_value(values: list[Any], name: str) -> None:
    dtype = dtype_of(name)
    refused = next((index for index, value in enumerate(values) if not fits(value, name)), None)
    if refused is not None:
        with pytest.raises(ValueError, match=rf"it holds .+ at \[{refused}\]"):
            exact_array(values, dtype)
        return
    result = exact_array(values, dtype)
    assert result.dtype == dtype
    assert result.shape == (len(values),)
    for given_value, value in zip(values, result, strict=True):
        if name in FLOATS and isinstance(given_value, float):
            assert str(value) == str(np.array(given_value).astype(dtype)[()]), "the nearest"
            assert math.isfinite(given_value) == math.isfinite(float(value))
        else:
            assert fraction(value) == fraction(given_value)


def fits(value: Any, name: str) -> bool:
    """By exact arithmetic, whether a dtype holds a value."""
    if name == "bool":
        return value in (0, 1)
    if name in INTEGERS:
        info = ml_dtypes.iinfo(dtype_of(name))
        return math.isfinite(value) and value == int(value) and int(info.min) <= value <= int(info.max)
    with np.errstate(all="ignore"):
        nearest = float(np.array(float(value)).astype(dtype_of(name))[()])
    if isinstance(value, float):
        return math.isfinite(nearest) == math.isfinite(value)
    return math.isfinite(nearest) and Fraction(nearest) == value


class Series:
    """What pandas, torch and TensorFlow have: not an array, but one at request."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return self.values if dtype is None else self.values.astype(dtype)


@settings(max_examples=300)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=4),
    st.sampled_from(["float16", "bfloat16", "float32", "float64"]),
    st.sampled_from((*INTEGERS, *FLOATS, "bool")),
)
def test_columns_and_tensors_of_floats_too(values: list[float], source: str, name: str) -> None:
    with np.errstate(all="ignore"):
        column = Series(np.array(values).astype(dtype_of(source)))
    if not all(fits(float(value), name) for value in column.values):
        with pytest.raises(ValueError, match="it holds "):
            exact_array(column, dtype_of(name))
        return
    result = exact_array(column, dtype_of(name))
    for before, after in zip(column.values, result, strict=True):
        if name in FLOATS:
            assert math.isfinite(float(before)) == math.isfinite(float(after))
        else:
            assert fraction(before) == fraction(after)


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        ([1.7, 2.9], "int64", r"it holds 1.7 at \[0\]"),
        ([[1, 2], [3, 300.5]], "uint8", r"it holds 300.5 at \[1, 1\]"),
        (Series([1.0, float("nan")]), "int64", r"it holds nan at \[1\]"),
        (7.5, "int32", "it is 7.5, which int32 cannot represent"),
        ([1, "a"], "float32", r"it holds 'a' at \[1\]"),
        ([1, None], "float32", r"it holds None at \[1\]"),
        ([1j], "float32", r"it holds 1j at \[0\]"),
        ([np.datetime64("2020-01-01", "ns")], "int64", "it holds"),
        ([Fraction(1, 2)], "float32", "it holds Fraction"),
        ([[1, 2], [3]], "int32", "its rows have different lengths"),
    ],
)
def test_errors_name_the_value(values: Any, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        exact_array(values, dtype_of(name))


def test_shapes_empty_lists_and_complex_numbers() -> None:
    assert exact_array([[[2**63 + 1]], [[5]]], np.dtype("uint64")).tolist() == [[[2**63 + 1]], [[5]]]
    assert exact_array([[], []], np.dtype("int32")).shape == (2, 0)
    assert exact_array([1, 2j], np.dtype("complex64")).tolist() == [1, 2j]
    assert exact_array(True, np.dtype("float32")) == 1.0
    assert exact_array([np.uint64(2**64 - 1), 1], np.dtype("uint64")).tolist() == [2**64 - 1, 1]
