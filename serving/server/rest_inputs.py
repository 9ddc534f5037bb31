"""Rows and columns of JSON to tensors, as TF Serving reads them: numbers become the dtype without a range check."""

from __future__ import annotations

import math
from array import array as packed
from itertools import chain
from typing import Any

import numpy as np

from attnexport.core.errors import first_line, no_such
from attnexport.core.signature import Array, Arrays, Signature, TensorSpec
from attnexport.serving.codec.dtypes import numpy_dtype

from .rest_json import TENSORFLOW_NAMES, encoded, is_base64, read_base64, shown, type_error
from .status import Code, StatusError, invalid

_FLOATS = {"float32": "f", "float64": "d"}  # with the codes of array.array
_NUMBERS = {int, float}
_PLAIN = {int, float, list}  # rows that are no objects
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
_WIRE_INTEGERS = {"int8": "int32", "int16": "int32", "uint8": "int32"}  # read as such, then cut to their bits


def read_inputs(document: dict[str, Any], signature: Signature) -> tuple[Arrays, bool]:
    """The inputs of a predict request, and whether they came as rows (`instances`) rather than columns (`inputs`).

    Raises:
        StatusError: naming the input that does not fit.
    """
    rows, columns = "instances" in document, "inputs" in document
    specs = {spec.name: spec for spec in signature.inputs}
    if not specs:
        raise invalid(f"Failed to get input map for signature: {signature.name}; it takes no inputs, call it over gRPC")
    if rows and columns:
        raise invalid(
            f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys "
            "to exist"
        )
    if rows:
        return _rows(document, specs), True
    if columns:
        return _columns(document["inputs"], specs), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _columns(value: Any, specs: dict[str, TensorSpec]) -> Arrays:
    if not _is_named(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                f"tensorinfo_map: {', '.join(specs)}"
            )
        [spec] = specs.values()
        return {spec.name: _tensor(value, spec)}
    for name in specs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _tensor(value[name], spec) for name, spec in specs.items()}


def _rows(document: dict[str, Any], specs: dict[str, TensorSpec]) -> Arrays:
    value = document["instances"]
    if not isinstance(value, list):
        raise invalid(f"JSON Value: {shown(document)} Expecting 'instances' to be an list/array")
    if not value:
        raise invalid(f"JSON Value: {shown(document)} No values in 'instances' array")
    if len(specs) == 1 and set(map(type, value)) <= _PLAIN:
        [spec] = specs.values()
        return {spec.name: _row_tensor(value, spec)}
    named = _is_named(value[0])
    if not named and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            f"tensorinfo_map: {', '.join(specs)}"
        )
    for number, row in enumerate(value):
        if _is_named(row) != named:
            wanted, found = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {wanted} but got {found} at item {number} of input list")
        if named and row.keys() != specs.keys():
            unknown = [name for name in row if name not in specs]
            problem = f"JSON object: does not have named input: {unknown[0]}. " if unknown else ""
            problem += (
                no_such("input", unknown[0], list(specs)) if unknown else f"keys must be equal to: {','.join(specs)}"
            )
            raise invalid(f"Failed to process element: {number} of 'instances' list. {problem}")
    if not named:
        [spec] = specs.values()
        return {spec.name: _row_tensor(value, spec)}
    return {name: _row_tensor([row[name] for row in value], spec) for name, spec in specs.items()}


def _row_tensor(value: Any, spec: TensorSpec) -> Array:
    try:
        return _tensor(value, spec)
    except StatusError as error:  # whatever it is, an invalid argument in this format
        raise invalid(f"Failed to process element of 'instances' list. Error: {error}") from error


def _is_named(value: Any) -> bool:
    """Whether a value is an object of tensors by name."""
    return isinstance(value, dict) and not is_base64(value)


def _tensor(value: Any, spec: TensorSpec) -> Array:
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    flat, kinds = _flattened(value, shape) if shape else ([], {list})
    try:
        if list in kinds:
            flat = []
            _flatten(value, shape, 0, flat)
            kinds = set(map(type, flat))
        array = _array(flat, kinds, spec.dtype)
        return array if len(shape) == 1 else array.reshape(shape)
    except RecursionError as error:
        raise invalid(f"input {spec.name!r} is nested too deeply") from error
    except ValueError as error:
        raise invalid(f"{first_line(error)} (input {spec.name!r})") from error


def _flattened(value: list[Any], shape: list[int]) -> tuple[list[Any], set[type]]:
    """The elements of nested lists, and their types; with lists among them if they do not have this shape."""
    kinds = set(map(type, value))
    for size in shape[1:]:
        if kinds != {list} or set(map(len, value)) != {size}:
            return value, {list}
        value = list(chain.from_iterable(value))
        kinds = set(map(type, value))
    return value, kinds


def _flatten(value: Any, shape: list[int], level: int, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise ValueError(f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM")
        flat.append(value)
        return
    if level >= len(shape):
        raise ValueError(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise ValueError(f"Encountered list at unexpected size: {len(value)} at level: {level} expected {shape[level]}")
    if level == len(shape) - 1:
        if list in set(map(type, value)):
            raise ValueError(f"Encountered list at unexpected level: {level + 1} expected < {len(shape)}")
        flat.extend(value)
        return
    for item in value:
        _flatten(item, shape, level + 1, flat)


def _array(flat: list[Any], kinds: set[type], dtype: str) -> Array:
    if dtype == "string":
        array = np.empty(len(flat), object)
        array[:] = [encoded(each) if isinstance(each, str) else read_base64(each) for each in flat]
        return array
    if dtype == "bool":
        _refuse_others(flat, kinds, {bool}, dtype)
        return np.array(flat, bool)
    if dtype in _INTEGERS:
        _refuse_others(flat, kinds, {int}, dtype)
        read_as = _WIRE_INTEGERS.get(dtype, dtype)
        bounds = np.iinfo(read_as)
        for value in flat:
            if not bounds.min <= value <= bounds.max:
                raise type_error(value, dtype)
        return np.array(flat, read_as).astype(dtype)
    if dtype not in _FLOATS:
        if not flat:
            return np.empty(0, numpy_dtype(dtype))
        if isinstance(flat[0], dict):
            raise type_error(flat[0], dtype)
        name = TENSORFLOW_NAMES.get(dtype, dtype)
        raise StatusError(
            Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(flat[0])} to type: {name}; send it over gRPC"
        )
    _refuse_others(flat, kinds, _NUMBERS, dtype)
    try:
        if flat and _are_finite(flat):  # this rounds them as a cast in C does, at once
            return np.frombuffer(packed(_FLOATS[dtype], flat), dtype)
        array = np.array(flat, np.float64)
    except OverflowError as error:
        raise ValueError("JSON Parse error: Number too big to be stored in double.") from error
    if dtype == "float64":
        return array
    with np.errstate(over="ignore"):  # infinity, as a cast in C++ gives
        return array.astype(dtype)


def _are_finite(flat: list[Any]) -> bool:
    """Whether numbers are finite, if their sum is, which is the fastest way to know; else they are looked at."""
    try:
        return math.isfinite(sum(flat))
    except OverflowError:
        return False


def _refuse_others(flat: list[Any], kinds: set[type], wanted: set[type], dtype: str) -> None:
    if kinds - wanted:
        raise type_error(next(each for each in flat if type(each) not in wanted), dtype)
