"""The protobuf wire format, as far as tensors need it (protobuf.dev, "Encoding").

It is written by hand because a parser copies what a view can share: a 33 MB tensor is read in microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attnexport.core.errors import CodecError
from attnexport.core.signature import Array

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_MAX_FIELD = 2**29 - 1
_MAX_VARINT = 10  # bytes of a varint
_UINT64_VAL = b"\x8a\x01"  # the key of TensorProto.uint64_val


class IrregularError(Exception):
    """Legal, but not as serializers write it; a parser brings it into the usual form."""


def varint(value: int) -> bytes:
    """An unsigned number, in 7 bits a byte, the lowest first."""
    if value < 128:
        return _SMALL[value]
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = [bytes([value]) for value in range(128)]


def read_varint(data: bytes, at: int, stop: int) -> tuple[int, int]:
    """A varint of 64 bits at most, and where the next thing begins."""
    value = shift = 0
    for position in range(at, min(stop, at + _MAX_VARINT)):
        byte = data[position]
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, position + 1
        shift += 7
    raise CodecError(f"bytes {at} to {stop} do not hold a whole varint; the message is cut off or damaged")


def fields(data: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message in `data[at:stop]`: number, wire type, and begin and end, or a varint's value twice.

    Raises:
        CodecError: if a length points outside, or the bytes are not a message.
        IrregularError: at a group, which proto3 does not write.
    """
    while at < stop:
        key = data[at]
        if key < 128:
            at += 1
        else:
            key, at = read_varint(data, at, stop)
        number, wire = key >> 3, key & 7
        if not 0 < number <= _MAX_FIELD:
            raise CodecError(f"{number} is not the number of a field; the message is damaged")
        if wire == LENGTH:
            if at < stop and data[at] < 128:  # most are short
                length, at = data[at], at + 1
            else:
                length, at = read_varint(data, at, stop)
            end = at + length
            if end > stop:
                raise CodecError(f"field {number} claims {length} bytes where {stop - at} are left")
            yield number, wire, at, end
            at = end
        elif wire == VARINT:
            value, at = read_varint(data, at, stop)
            yield number, wire, value, value
        elif wire in _FIXED:
            at += _FIXED[wire]
            if at > stop:
                raise CodecError(f"field {number} is cut off")
            yield number, wire, at - _FIXED[wire], at
        else:
            raise IrregularError


def pack_varints(values: Array) -> bytes:
    """Integers `[n]` as packed varints; negative ones as 64 bits in two's complement, as protobuf has them."""
    unsigned = values.astype(np.uint64) if values.dtype.kind != "i" else values.astype(np.int64).view(np.uint64)
    largest = int(unsigned.max(initial=0))
    if largest < 128:
        return unsigned.astype(np.uint8).tobytes()
    most = -(-largest.bit_length() // 7)
    lengths = np.ones(unsigned.shape, np.int64)
    for place in range(1, most):
        lengths += unsigned >= np.uint64(1 << 7 * place)
    ends = np.cumsum(lengths)
    out = np.empty(int(ends[-1]), np.uint8)
    starts = ends - lengths
    for place in range(most):
        here = lengths > place
        byte = (unsigned[here] >> np.uint64(7 * place)).astype(np.uint8) & np.uint8(127)
        out[starts[here] + place] = byte | np.where(lengths[here] > place + 1, np.uint8(128), np.uint8(0))
    return out.tobytes()


def unpack_varints(data: bytes, at: int, stop: int) -> Array:
    """Packed varints as uint64 `[n]`, in memory of a fixed multiple of their bytes.

    Raises:
        CodecError: if the last one is cut off, or one is too long.
    """
    raw = np.frombuffer(data, np.uint8, stop - at, at)
    if not raw.size or raw.max() < 128:
        return raw.astype(np.uint64)
    if raw[-1] >= 128:
        raise CodecError("packed integers are cut off in the middle of one")
    from google.protobuf.message import DecodeError

    from attnexport.serving.messages import TensorProto

    # protobuf's parser is several times faster than numpy: the numbers as a field of a message that has such.
    packed = data[at:stop]
    try:
        parsed = TensorProto.FromString(_UINT64_VAL + varint(len(packed)) + packed)
    except DecodeError as error:
        raise CodecError("packed integers are damaged") from error
    return np.array(parsed.uint64_val, np.uint64)
