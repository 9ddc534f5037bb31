"""Numbers converted to a dtype without a change: exactly, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from .signature import Array

_MIN_ROUNDED = 2**8  # bfloat16 holds all whole numbers below


def exact_array(values: Any, dtype: np.dtype[Any]) -> Array:
    """Values as an array of a dtype that holds them exactly.

    A float stays the nearest one that a narrower float dtype has, as everywhere in Python; it must not overflow.
    Whole numbers are never rounded.

    Args:
        values: A number, nested lists of numbers, or anything that numpy makes an array of (a pandas Series, a tensor).
        dtype: The dtype of the result: booleans, integers, floats or complex numbers, those of ml_dtypes included.

    Raises:
        ValueError: naming the first value that the dtype cannot represent, and where it is; or for lists of different
            lengths.

    Example:
        >>> exact_array([1, 2**63 + 1], np.dtype("uint64")).tolist()
        [1, 9223372036854775809]
        >>> exact_array([1.0, 2.5], np.dtype("int64"))
        Traceback (most recent call last):
        ...
        ValueError: it holds 2.5 at [1], which int64 cannot represent
    """
    array = _numbers(values, min(_MIN_ROUNDED, 2 ** _digits(dtype)) if _is_float(dtype) else _MIN_ROUNDED)
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):
        if array.dtype.kind not in "OSU" and (array.dtype.kind != "c" or dtype.kind == "c"):
            result = array.astype(dtype)
            if _is_exact(array, result):
                return result
    for index, value in np.ndenumerate(array):
        if not _holds(dtype, value):
            place = f"holds {_text(value)} at {list(index)}" if index else f"is {_text(value)}"
            raise ValueError(f"it {place}, which {dtype.name} cannot represent")
    return np.array([_cast(dtype, each) for each in array.reshape(-1)], dtype).reshape(array.shape)


def regular_array(values: Any, dtype: type[object] | None = None) -> Array:
    """Values as an array, of numpy's dtype for them or of objects.

    Raises:
        ValueError: for lists of different lengths. numpy's own message does not say that, and it makes an array of
            lists if the dtype is `object`.

    Example:
        >>> regular_array([[1, 2], [3]])
        Traceback (most recent call last):
        ...
        ValueError: its rows have different lengths or depths; pad or cut them to one
    """
    problem = "its rows have different lengths or depths; pad or cut them to one"
    try:
        array = np.asarray(values, dtype)
    except ValueError as error:
        raise ValueError(problem) from error
    if dtype is object and any(isinstance(each, list) for each in array.reshape(-1)):
        raise ValueError(problem)
    return array


def _numbers(values: Any, min_rounded: float) -> Array:
    """The values with their bits: Python's own numbers as objects if any is so large that it may be rounded."""
    array = regular_array(values)
    if hasattr(values, "__array__") or array.dtype.kind not in "fcSU":
        return array
    # numpy makes floats of integers that are mixed with floats, or with others that only uint64 holds, and text of
    # numbers that are mixed with text.
    objects = np.asarray(values, dtype=object)
    if array.dtype.kind in "fc" and not (array.size and np.nanmax(np.abs(array), initial=0) >= min_rounded):
        return array
    return objects if objects.shape == array.shape else array


def _is_exact(array: Array, result: Array) -> bool:
    """Whether all numbers are what they were; in doubt not."""
    source, target = array.dtype, result.dtype
    if _is_integer(source) or source.kind == "b":
        if target.kind == "b":
            return bool((result.astype(source) == array).all())
        if _is_integer(target):
            least, most = _bounds(target)
            return not array.size or (int(array.min()) >= least and int(array.max()) <= most)
        most = 2 ** (_digits(target))
        return not array.size or (int(array.min()) >= -most and int(array.max()) <= most)
    if _is_float(source):
        if target.kind == "b" or _is_integer(target):
            least, most = _bounds(target)
            wide = array.astype(np.float64) if source.kind != "f" or source.itemsize < 8 else array
            return bool((np.trunc(wide) == wide).all() and (wide >= least).all() and (wide < most + 1).all())
        if _is_float(target) or target.kind == "c":
            return bool((np.isfinite(result) == np.isfinite(array)).all())
    return source.kind == "c" and target.kind == "c" and bool((np.isfinite(result) == np.isfinite(array)).all())


def _holds(dtype: np.dtype[Any], value: Any) -> bool:
    """Whether a dtype holds one number."""
    try:
        cast = _cast(dtype, value)
        if dtype.kind == "b" or _is_integer(dtype):
            return bool(int(cast) == value)
        if isinstance(value, bool | np.bool | int | np.integer):
            return int(float(cast.real)) == int(value)  # int() of a NaN of ml_dtypes is a number
        return bool(np.isfinite(cast) == np.isfinite(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _cast(dtype: np.dtype[Any], value: Any) -> Any:
    """One number in a dtype; raises if it is not one."""
    if isinstance(value, str | bytes) or not isinstance(value, bool | int | float | complex | np.generic):
        raise TypeError
    if isinstance(value, np.generic) and not (_is_integer(value.dtype) or _is_float(value.dtype)):
        value = value.item()
        if not isinstance(value, bool | complex):
            raise TypeError
    if dtype.kind == "b":
        if value not in (0, 1):
            raise ValueError
        return np.bool(value)
    if _is_integer(dtype):
        number, (least, most) = int(value), _bounds(dtype)
        if not least <= number <= most:
            raise OverflowError
        return np.array(number).astype(dtype)[()] if dtype.itemsize < 8 else dtype.type(number)
    if isinstance(value, complex) and dtype.kind != "c":
        raise TypeError
    if isinstance(value, int):
        value = float(value)  # numpy keeps an integer beyond 64 bits as an object, which ml_dtypes does not convert
    with np.errstate(all="ignore"):
        return np.array(value).astype(dtype)[()]


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name.removeprefix("u").startswith("int")


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))


def _bounds(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The least and the greatest number of an integer dtype, or of booleans."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    bits, signed = int(dtype.name.removeprefix("u").removeprefix("int")), not dtype.name.startswith("u")
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def _digits(dtype: np.dtype[Any]) -> int:
    """Bits of a float dtype's mantissa: all whole numbers up to 2**digits are exact."""
    if dtype.kind == "c" or dtype.name in ("float16", "float32", "float64"):
        return int(np.finfo(dtype).nmant) + 1
    import ml_dtypes

    info: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return int(info.nmant) + 1


def _text(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)[:60]
