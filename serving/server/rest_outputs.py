"""Tensors to JSON, in the two formats of TF Serving's REST API; bytes that are not UTF-8 are surrogate escapes."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import numpy as np

from attnexport.core.signature import Arrays, dtype_name

from .rest_json import TENSORFLOW_NAMES
from .status import invalid

_DIGITS = {"float32": 9, "float64": 17}
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
_INDENT = "    "
_SINGLE = struct.Struct("f")
_FEW = 32  # floats that are written one by one: numpy's calls would take longer


def write_outputs(outputs: Arrays, *, rows: bool) -> str:
    """The reply to a predict request; bytes that are not UTF-8 are surrogate escapes.

    Raises:
        StatusError: if a dtype has no JSON, or outputs have no common first dimension to make rows of.
    """
    if not rows:
        depth = 1 if len(outputs) == 1 else 2
        texts = {name: _text(array, name, depth) for name, array in outputs.items()}
        inner = next(iter(texts.values())) if len(texts) == 1 else _joined(texts)
        return f'{{\n    "outputs": {inner}\n}}'
    size: int | None = None
    for name, array in outputs.items():
        if not array.shape:
            raise invalid(f"Tensor name: {name} has no shape information; send 'inputs' instead of 'instances'")
        if size not in (None, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}; send 'inputs' "
                "instead of 'instances'"
            )
        size = len(array)
    columns = {name: _folded(_texts(array, name), array.shape, 1) for name, array in outputs.items()}
    if len(columns) == 1:
        items = next(iter(columns.values()))
    else:
        each = zip(*columns.values(), strict=True)
        items = [_joined(dict(zip(columns, row, strict=True))) for row in each]
    return '{\n    "predictions": [' + ", ".join(items) + "\n    ]\n}"


def _joined(texts: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}"


def _text(array: Any, name: str, depth: int) -> str:
    """A tensor as JSON; strings on a line each from a depth on, as TF Serving writes columns."""
    array = np.asarray(array)
    if dtype_name(array) == "string":
        as_bytes = name.endswith("_bytes")
        return _nested(array.tolist(), lambda each: _string(each, as_bytes=as_bytes), depth)
    return _folded(_texts(array, name), array.shape, 0)[0]


def _texts(array: Any, name: str) -> list[str]:
    """The elements of a tensor as JSON, in order.

    Raises:
        StatusError: if the dtype has no JSON.
    """
    array = np.asarray(array).reshape(-1)
    dtype = dtype_name(array)
    if dtype == "string":
        as_bytes = name.endswith("_bytes")
        return [_string(each, as_bytes=as_bytes) for each in array.tolist()]
    if dtype in _DIGITS:
        return _decimals(array, _DIGITS[dtype], single=dtype == "float32")
    if dtype in _INTEGERS:
        return list(map(str, array.tolist()))
    if dtype == "bool":
        return ["true" if each else "false" for each in array.tolist()]
    if not array.size:
        return []
    dtype = TENSORFLOW_NAMES.get(dtype, dtype)
    raise invalid(f"Failed to write JSON value for tensor type: {dtype}; call it over gRPC (output {name!r})")


def _folded(texts: list[str], shape: tuple[int, ...], depth: int) -> list[str]:
    """The elements joined to the items of an axis; at depth 0 to one text."""
    for axis in range(len(shape) - 1, depth - 1, -1):
        size, count = shape[axis], math.prod(shape[:axis])
        texts = ["[" + ", ".join(texts[each * size : (each + 1) * size]) + "]" for each in range(count)]
    return texts


def _nested(value: Any, write: Any, depth: int) -> str:
    if isinstance(value, list) and value:
        line = "\n" + _INDENT * (depth + 1)
        items = f",{line}".join([_nested(item, write, depth + 1) for item in value])
        return f"[{line}{items}\n{_INDENT * depth}]"
    if isinstance(value, list):
        return "[]"
    text: str = write(value)
    return text


def _string(value: Any, *, as_bytes: bool) -> str:
    data = value if isinstance(value, bytes) else str(value).encode()
    if as_bytes:
        return '{"b64": "' + base64.b64encode(data).decode() + '"}'
    return json.dumps(data.decode("utf-8", "surrogateescape"), ensure_ascii=False)


def decimal(value: float, digits: int = 9, *, single: bool = True) -> str:
    """A float as TF Serving writes it: with six digits if they are enough to read it back, and never as an integer."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if (_rounded(float(text)) if single else float(text)) != value:
        text = f"{value:.{digits}g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _rounded(value: float) -> float:
    """The float32 that is nearest."""
    try:
        rounded: float = _SINGLE.unpack(_SINGLE.pack(value))[0]
    except OverflowError:
        return math.inf
    return rounded


def _decimals(array: Any, digits: int, *, single: bool) -> list[str]:
    """`decimal` of many, several times as fast."""
    values = array.tolist()
    if len(values) < _FEW:
        return [decimal(each, digits, single=single) for each in values]
    texts = [f"{value:.6g}" for value in values]
    with np.errstate(over="ignore"):
        is_exact = np.array([float(text) for text in texts], np.float64).astype(array.dtype) == array
    for place in np.flatnonzero(~is_exact).tolist():
        texts[place] = f"{values[place]:.{digits}g}"
    for place in np.flatnonzero((array == np.trunc(array)) | np.isnan(array)).tolist():  # infinities, too
        text, value = texts[place], values[place]
        if not math.isfinite(value):
            texts[place] = decimal(value)
        elif "." not in text and "e" not in text:
            texts[place] = f"{text}.0"
    return texts
