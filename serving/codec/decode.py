"""TensorProto to numpy, straight from the wire: values that are stored as in memory are not copied."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from attnexport.core.errors import CodecError, first_line
from attnexport.core.signature import Array

from .dtypes import CONTENT, DTYPE, LISTS, RAW_FIELDS, SHAPE, STRING, STRING_VAL, WireType, by_number
from .wire import LENGTH, VARINT, IrregularError, fields, read_varint, unpack_varints

SPLAT_LIMIT = 1 << 28  # bytes
_MAX_DIMENSIONS = 64  # numpy's
_MAX_HEADS = 1024  # a client asks for few dtypes and shapes
_SINGLE = (SHAPE, CONTENT)


def decode_tensor(
    data: bytes, start: int = 0, stop: int | None = None, *, splat_limit: int = SPLAT_LIMIT, lenient: bool = False
) -> Array:
    """The bytes of a TensorProto as an array, with the values of `tf.make_ndarray`.

    Args:
        data: A message that has the TensorProto in `data[start:stop]`.
        start: Where the TensorProto begins.
        stop: Where it ends; at the end of `data` if None.
        splat_limit: The most bytes of an array that is filled up from fewer values: a message of ten bytes can ask
            for terabytes.
        lenient: Read what TensorFlow's own runtime reads: values beyond the shape are ignored, and numbers outside a
            dtype are cut to its bits. It refuses bytes of booleans other than 0 and 1.

    Returns:
        The array, read-only: it shares the memory of `data` if it can. Strings are an object array of bytes.

    Raises:
        CodecError: if the bytes are damaged, or lie about lengths or dimensions.

    Example:
        >>> from attnexport.serving.codec import encode_tensor
        >>> decode_tensor(encode_tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    end = len(data) if stop is None else stop
    try:
        array = _view_of_common_form(data, start, end)
        if array is None:
            array = _decode(data, start, end, splat_limit, lenient)
    except IrregularError:
        usual = _usual_form(data[start:end])
        array = _decode(usual, 0, len(usual), splat_limit, lenient)
    array.flags.writeable = False
    return array


def _view_of_common_form(data: bytes, start: int, stop: int) -> Array | None:
    """A tensor as most are written: dtype, shape, then the values as in memory. None if it is written otherwise."""
    if stop - start < 6 or data[start + 3] > 127:
        return None
    key = start + 4 + data[start + 3]
    if key + 2 > stop:
        return None
    head = _read_head(data[start : key + 1])
    length, begin = read_varint(data, key + 1, stop)
    if head is None or length != head[2] or begin + length != stop:
        return None
    dtype, shape, _ = head
    return np.ndarray(shape, dtype, data, begin)


@lru_cache(maxsize=_MAX_HEADS)
def _read_head(head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int] | None:
    """Dtype, shape and bytes of values, from what stands before their length. None if they are not as in memory."""
    if head[0] != DTYPE << 3 | VARINT or head[1] > 127 or head[2] != SHAPE << 3 | LENGTH:
        return None
    parts = _scan(head, 0, len(head) - 1)
    kind = by_number(parts.number)
    size = prod(parts.shape) * kind.dtype.itemsize
    in_memory = {CONTENT, kind.field} & {CONTENT, *RAW_FIELDS}
    keys = {number << 3 | LENGTH for number in in_memory}
    # Strings are computed from the bytes, and booleans checked; no bytes are zeros of any number.
    if kind.number == STRING or kind.name == "bool" or not size or head[-1] not in keys:
        return None
    return kind.dtype, parts.shape, size


def _usual_form(data: bytes) -> bytes:
    """The same tensor with each field once and packed: the parser joins what was split."""
    from google.protobuf.message import DecodeError

    from attnexport.serving.messages import TensorProto

    try:
        parsed = TensorProto.FromString(data)
    except DecodeError as error:
        raise CodecError(f"the bytes are not a tensor: {first_line(error)}") from error
    parsed.DiscardUnknownFields()
    serialized: bytes = parsed.SerializeToString(deterministic=True)
    return serialized


@dataclass
class _Parts:
    """The parts of a TensorProto: where each field begins and ends."""

    number: int = 0
    shape: tuple[int, ...] = ()
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    strings: list[bytes] = field(default_factory=list)


def _decode(data: bytes, start: int, stop: int, splat_limit: int, lenient: bool) -> Array:
    parts = _scan(data, start, stop)
    kind = by_number(parts.number)
    count = prod(parts.shape)
    begin, end = parts.places.get(CONTENT, (0, 0))
    if lenient and not count and end > begin:
        return _reshaped(np.empty(0, kind.dtype), parts.shape)
    if kind.number == STRING:
        strings = parts.strings if begin == end else _string_list(data, begin, end, count)
        values = _object_array(strings)
        return _filled(values[:count] if lenient else values, parts.shape, count, splat_limit)
    if end > begin:
        return _view(kind, data, begin, end, parts.shape, lenient)
    begin, end = parts.places.get(kind.field, (0, 0))
    if kind.field in RAW_FIELDS:
        half = kind.dtype.itemsize // 2
        if lenient and kind.dtype.kind == "c" and (end - begin) % kind.dtype.itemsize == half:
            end -= half  # TensorFlow ignores a real part without its imaginary part
        values = _raw(kind.dtype, data, begin, end)
    else:
        values = _narrow(kind, unpack_varints(data, begin, end), lenient)
    return _filled(values[:count] if lenient else values, parts.shape, count, splat_limit)


def _scan(data: bytes, start: int, stop: int) -> _Parts:
    parts = _Parts()
    for number, wire, begin, end in fields(data, start, stop):
        if wire != LENGTH:
            if number == DTYPE and wire == VARINT:
                parts.number = begin
            elif number in LISTS:
                raise IrregularError  # a list that is not packed is legal and rare
        elif number == STRING_VAL:
            parts.strings.append(data[begin:end])
        elif number in _SINGLE or number in LISTS:
            if number in parts.places:
                raise IrregularError  # and so is a field in two parts
            parts.places[number] = begin, end
            if number == SHAPE:
                parts.shape = _shape(data, begin, end)
    return parts


def _shape(data: bytes, at: int, stop: int) -> tuple[int, ...]:
    sizes: list[int] = []
    for number, wire, begin, end in fields(data, at, stop):
        if number != 2 or wire != LENGTH:
            continue
        size = _dim_size(data, begin, end)
        if size >> 63:
            raise CodecError(f"dimension {len(sizes)} of a tensor is negative ({size - (1 << 64)})")
        sizes.append(size)
        if len(sizes) > _MAX_DIMENSIONS:
            raise CodecError(f"a tensor has more than {_MAX_DIMENSIONS} dimensions")
    return tuple(sizes)


def _dim_size(data: bytes, at: int, stop: int) -> int:
    sizes = [begin for number, wire, begin, _ in fields(data, at, stop) if number == 1 and wire == VARINT]
    return sizes[-1] if sizes else 0


def _raw(dtype: np.dtype[Any], data: bytes, begin: int, end: int) -> Array:
    count, rest = divmod(end - begin, dtype.itemsize)
    if rest:
        raise CodecError(f"{end - begin} bytes of values are not a whole number of {dtype.name}")
    return np.frombuffer(data, dtype, count, begin) if count else np.empty(0, dtype)


def _view(kind: WireType, data: bytes, begin: int, end: int, shape: tuple[int, ...], lenient: bool) -> Array:
    values = _raw(kind.dtype, data, begin, end)
    if kind.name == "bool" and values.view(np.uint8).max() > 1:
        if lenient:  # than numpy, but TensorFlow's runtime takes no such booleans
            raise CodecError("the bytes of booleans must be 0 or 1")
        values = values.view(np.uint8) != 0  # numpy computes nonsense from other bytes
    return _reshaped(values, shape)


def _narrow(kind: WireType, values: Array, lenient: bool) -> Array:
    """Varints of 64 bits as the dtype itself: cut to the field's type as protobuf does, then checked or cut again."""
    if kind.name == "bool":
        truths: Array = values != 0
        return truths
    if kind.bits == np.dtype("<u2"):
        if values.size and values.max() > 0xFFFF and not lenient:
            raise CodecError(f"half_val holds {values.max()}, which is more than 16 bits")
        return values.astype(kind.bits).view(kind.dtype)
    cut = values.astype(f"<u{kind.bits.itemsize}").view(kind.bits)
    if cut.dtype == kind.dtype:
        return cut
    narrow = cut.astype(kind.dtype)
    if not lenient and not np.array_equal(narrow.astype(cut.dtype), cut):
        raise CodecError(f"int_val holds numbers outside {kind.name}")
    return narrow


def _filled(values: Array, shape: tuple[int, ...], count: int, splat_limit: int) -> Array:
    """The values in shape; fewer than there are elements repeat the last one, none are zeros."""
    if values.size < count:
        if count * values.dtype.itemsize > splat_limit:
            raise CodecError(
                f"a tensor of shape {list(shape)} would be filled up from {values.size} values; "
                f"the limit of that is {splat_limit:,} bytes"
            )
        whole = np.empty(count, values.dtype)
        whole[: values.size] = values
        whole[values.size :] = values[-1] if values.size else b"" if values.dtype == object else 0
        values = whole
    return _reshaped(values, shape)


def _reshaped(values: Array, shape: tuple[int, ...]) -> Array:
    try:
        return values.reshape(shape)
    except ValueError as error:
        raise CodecError(f"a tensor of shape {list(shape)} comes with {values.size} values") from error


def _object_array(strings: list[bytes]) -> Array:
    array = np.empty(len(strings), object)
    array[:] = strings
    return array


def _string_list(data: bytes, at: int, stop: int, count: int) -> list[bytes]:
    """TF Serving's fast form of strings, which tf.make_ndarray cannot read: all lengths, then all bytes."""
    if count > stop - at:
        raise CodecError(f"it claims {count} strings in {stop - at} bytes")
    lengths = []
    for _ in range(count):
        length, at = read_varint(data, at, stop)
        lengths.append(length)
    if sum(lengths) != stop - at:
        raise CodecError(f"it claims strings of {sum(lengths)} bytes where {stop - at} are left")
    strings = []
    for length in lengths:
        strings.append(data[at : at + length])
        at += length
    return strings
