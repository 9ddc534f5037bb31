"""JSON to tensors and back, in the two formats of TF Serving's REST API."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import Any

import numpy as np

from attnexport.core.errors import first_line, no_such
from attnexport.core.signature import Arrays, Signature, TensorSpec

from .status import Code, StatusError, invalid

_MAX_UINT64 = 2**64 - 1
# The largest whole number that a float holds exactly, as TF Serving draws the line.
_WHOLE = {"float32": 2**24 - 1, "float64": 2**53 - 1}
# Words that RapidJSON takes beside those of Python's json; strings are matched whole, to be left alone.
_WORD = re.compile(r"-?Inf(?!inity)|-NaN")
_WORDS = re.compile(rf'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|{_WORD.pattern}', re.DOTALL)
_SPELLED = {"Inf": "Infinity", "-Inf": "-Infinity", "-NaN": "NaN"}
# White space is skipped, and the URL-safe alphabet is the plain one.
_BASE64 = str.maketrans("-_", "+/", " \t\n\v\f\r")
_DIGITS = {"float32": 9, "float64": 17}
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")


class Word(float):
    """NaN or an infinity that was written as such; 1e400 becomes an infinity, too, but a plain float."""


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """The JSON object of a request; NaN, Inf, Infinity and their negatives are numbers.

    Raises:
        StatusError: where it is none.
    """
    try:
        document = _load(body)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is no JSON: {first_line(error)}") from error
    if not isinstance(document, dict):
        raise invalid(f"the body is {_kind(document)}; a JSON object is wanted")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid("signature_name must be a string")
    return document


def _load(body: bytes | bytearray) -> Any:
    try:
        return json.loads(body, parse_constant=Word)
    except json.JSONDecodeError as error:
        if not _WORD.match(error.doc, error.pos):
            raise
        return json.loads(_WORDS.sub(lambda found: _SPELLED.get(found[0], found[0]), error.doc), parse_constant=Word)


def read_inputs(document: dict[str, Any], signature: Signature) -> tuple[Arrays, bool]:
    """The inputs of a predict request, and whether they came as rows (`instances`) rather than columns (`inputs`).

    Raises:
        StatusError: naming the input that does not fit.
    """
    rows, columns = "instances" in document, "inputs" in document
    if rows == columns:
        raise invalid(f"the body has {'both' if rows else 'neither'} of 'instances' and 'inputs'; one is wanted")
    specs = {spec.name: spec for spec in signature.inputs}
    if columns:
        return _columns(document["inputs"], specs), False
    return _rows(document["instances"], specs), True


def _columns(value: Any, specs: dict[str, TensorSpec]) -> Arrays:
    if not isinstance(value, dict) or is_base64(value):
        [spec] = _only(specs, "'inputs' is a plain value")
        return {spec.name: _tensor(value, spec)}
    for name in specs:
        if name not in value:
            raise invalid(f"'inputs' lacks the input {name!r}")
    return {name: _tensor(value[name], spec) for name, spec in specs.items()}


def _rows(value: Any, specs: dict[str, TensorSpec]) -> Arrays:
    if not isinstance(value, list) or not value:
        raise invalid("'instances' must be a list of at least one row")
    named = isinstance(value[0], dict) and not is_base64(value[0])
    for number, row in enumerate(value):
        if (isinstance(row, dict) and not is_base64(row)) != named:
            raise invalid(f"instance {number} is {_kind(row)}, the first one is {_kind(value[0])}; they must be alike")
        if named and row.keys() != specs.keys():
            unknown = [name for name in row if name not in specs]
            told = no_such("input", unknown[0], list(specs)) if unknown else f"its inputs must be {', '.join(specs)}"
            raise invalid(f"instance {number}: {told}")
    if not named:
        [spec] = _only(specs, "'instances' is a plain list")
        return {spec.name: _tensor(value, spec)}
    return {name: _tensor([row[name] for row in value], spec) for name, spec in specs.items()}


def _only(specs: dict[str, TensorSpec], what: str) -> list[TensorSpec]:
    if len(specs) != 1:
        raise invalid(f"{what}, but the signature has {len(specs)} inputs ({', '.join(specs)}); name each")
    return list(specs.values())


def _tensor(value: Any, spec: TensorSpec) -> np.ndarray[Any, Any]:
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    flat: list[Any] = []
    try:
        _flatten(value, shape, 0, flat)
        return _array(flat, spec.dtype).reshape(shape)
    except RecursionError as error:
        raise invalid(f"input {spec.name!r} is nested too deeply") from error
    except ValueError as error:
        raise invalid(f"input {spec.name!r}: {first_line(error)}") from error


def _flatten(value: Any, shape: list[int], level: int, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise ValueError(f"{_kind(value)} stands where a list of {shape[level]} is expected")
        flat.append(value)
        return
    if level >= len(shape):
        raise ValueError("a list stands where a single value is expected")
    if len(value) != shape[level]:
        raise ValueError(f"a list of {len(value)} stands where the first one has {shape[level]}")
    if level == len(shape) - 1:
        if list in set(map(type, value)):
            raise ValueError("a list stands where a single value is expected")
        flat.extend(value)
        return
    for item in value:
        _flatten(item, shape, level + 1, flat)


def _array(flat: list[Any], dtype: str) -> np.ndarray[Any, Any]:
    kinds = set(map(type, flat))
    if dtype == "string":
        array = np.empty(len(flat), object)
        array[:] = [
            each.encode("utf-8", "surrogatepass") if isinstance(each, str) else read_base64(each) for each in flat
        ]
        return array
    if dtype == "bool":
        _refuse_others(flat, kinds, {bool}, dtype)
        return np.array(flat, bool)
    if dtype in _INTEGERS:
        _refuse_others(flat, kinds, {int}, dtype)
        bounds = np.iinfo(dtype)
        for value in flat:
            if not bounds.min <= value <= bounds.max:
                raise ValueError(f"{value} is no {dtype}, which goes from {bounds.min} to {bounds.max}")
        return np.array(flat, dtype)
    if dtype not in _WHOLE:
        raise StatusError(Code.UNIMPLEMENTED, f"JSON cannot be converted to {dtype}; send it over gRPC")
    _refuse_others(flat, kinds, {int, float, Word}, dtype)
    if int in kinds:
        for value in flat:
            if type(value) is int and _WHOLE[dtype] < abs(value) <= _MAX_UINT64:
                raise ValueError(f"{value} cannot be converted to {dtype} without loss")
    try:
        array = np.array(flat, np.float64)
    except OverflowError as error:
        raise ValueError(f"a number is too large for {dtype}") from error
    large = np.flatnonzero(np.abs(array) > np.finfo(dtype).max)
    if any(type(flat[place]) is not Word for place in large):
        raise ValueError(f"a number is too large for {dtype}")
    return array.astype(dtype)


def _refuse_others(flat: list[Any], kinds: set[type], wanted: set[type], dtype: str) -> None:
    if kinds - wanted:
        other = next(each for each in flat if type(each) not in wanted)
        raise ValueError(f"{json.dumps(other)[:100]} is {_kind(other)}, not of type {dtype}")


def is_base64(value: Any) -> bool:
    """Whether a JSON value is an object that stands for bytes."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def read_base64(value: Any) -> bytes:
    """The bytes that a `{"b64": ...}` stands for, of the plain or the URL-safe alphabet.

    Raises:
        ValueError: where it does not decode.
    """
    if not is_base64(value):
        raise ValueError(f'{json.dumps(value)[:100]} is no string, nor {{"b64": "..."}}')
    try:
        text = value["b64"].translate(_BASE64).rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"b64 does not decode: {first_line(error)}") from error


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def write_outputs(outputs: Arrays, *, rows: bool) -> str:
    """The reply to a predict request.

    Raises:
        StatusError: where a dtype has no JSON, or outputs have no common first dimension to make rows of.
    """
    if not rows:
        texts = {name: _text(array, name) for name, array in outputs.items()}
        inner = next(iter(texts.values())) if len(texts) == 1 else _object(texts)
        return f'{{\n    "outputs": {inner}\n}}'
    sizes = {name: array.shape[:1] for name, array in outputs.items()}
    for name, size in sizes.items():
        if not size:
            raise invalid(f"output {name!r} is a scalar and gives no rows; ask with 'inputs' instead of 'instances'")
    if len(set(sizes.values())) > 1:
        raise invalid(f"the outputs have different first dimensions {sizes}; ask with 'inputs' instead of 'instances'")
    columns = {name: [_text(row, name) for row in array] for name, array in outputs.items()}
    if len(columns) == 1:
        items = next(iter(columns.values()))
    else:
        each = zip(*columns.values(), strict=True)
        items = [_object(dict(zip(columns, row, strict=True))) for row in each]
    return '{\n    "predictions": [' + ", ".join(items) + "\n    ]\n}"


def _object(texts: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}"


def _text(array: Any, name: str) -> str:
    array = np.asarray(array)
    if array.dtype.kind in "OSU":
        as_bytes = name.endswith("_bytes")
        return _nested(array.tolist(), lambda each: _string(each, as_bytes=as_bytes))
    if array.dtype.name in _DIGITS:
        digits, single = _DIGITS[array.dtype.name], array.dtype.name == "float32"
        return _nested(array.tolist(), lambda each: decimal(each, digits, single=single))
    if array.dtype.name in (*_INTEGERS, "bool"):
        return json.dumps(array.tolist())
    raise invalid(f"output {name!r} is {array.dtype.name}, which JSON has not; ask over gRPC")


def _nested(value: Any, write: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join([_nested(item, write) for item in value]) + "]"
    text: str = write(value)
    return text


def _string(value: Any, *, as_bytes: bool) -> str:
    data = value if isinstance(value, bytes) else str(value).encode()
    if as_bytes:
        return '{"b64": "' + base64.b64encode(data).decode() + '"}'
    return json.dumps(data.decode("utf-8", "replace"), ensure_ascii=False)


def decimal(value: float, digits: int = 9, *, single: bool = True) -> str:
    """A float as TF Serving writes it: six digits where they are enough to read it back, and never a bare whole."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if (float(np.float32(text)) if single else float(text)) != value:
        text = f"{value:.{digits}g}"
    return text if "." in text or "e" in text else f"{text}.0"
