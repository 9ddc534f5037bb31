"""The dtypes that TensorFlow and numpy (or ml_dtypes) share: number, name, and where a TensorProto holds values.

Numbers are those of the enum tensorflow.DataType, field numbers those of tensorflow.TensorProto; tests hold both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from attnexport.core.errors import CodecError

# Fields of TensorProto.
DTYPE, SHAPE, CONTENT, STRING_VAL = 1, 2, 4, 8
_HALF, _FLOAT, _DOUBLE, _INT, _SCOMPLEX, _INT64, _BOOL, _DCOMPLEX, _UINT32, _UINT64, _FLOAT8 = (
    13, 5, 6, 7, 9, 10, 11, 12, 16, 17, 18,
)  # fmt: skip
# Packed little-endian on the wire as in memory; all other value fields are varints.
RAW_FIELDS = frozenset({_FLOAT, _DOUBLE, _SCOMPLEX, _DCOMPLEX, _FLOAT8})
# The others as their field has them.
_BITS = {_HALF: "<u2", _INT: "<i4", _INT64: "<i8", _BOOL: "u1", _UINT32: "<u4", _UINT64: "<u8"}
# All lists of numbers that serializers write packed.
LISTS = frozenset({_HALF, _FLOAT, _DOUBLE, _INT, _SCOMPLEX, _INT64, _BOOL, _DCOMPLEX, _UINT32, _UINT64, _FLOAT8})
STRING = 7

# Number: name, field of the values.
_DTYPES = {
    1: ("float32", _FLOAT), 2: ("float64", _DOUBLE), 3: ("int32", _INT), 4: ("uint8", _INT), 5: ("int16", _INT),
    6: ("int8", _INT), STRING: ("string", STRING_VAL), 8: ("complex64", _SCOMPLEX), 9: ("int64", _INT64),
    10: ("bool", _BOOL), 14: ("bfloat16", _HALF), 17: ("uint16", _INT), 18: ("complex128", _DCOMPLEX),
    19: ("float16", _HALF), 22: ("uint32", _UINT32), 23: ("uint64", _UINT64), 24: ("float8_e5m2", _FLOAT8),
    25: ("float8_e4m3fn", _FLOAT8), 26: ("float8_e4m3fnuz", _FLOAT8), 27: ("float8_e4m3b11fnuz", _FLOAT8),
    28: ("float8_e5m2fnuz", _FLOAT8), 29: ("int4", _INT), 30: ("uint4", _INT), 31: ("int2", _INT), 32: ("uint2", _INT),
    33: ("float4_e2m1fn", _FLOAT8),
}  # fmt: skip
_NUMBERS = {name: number for number, (name, _) in _DTYPES.items()}


@dataclass(frozen=True)
class WireType:
    """How the elements of a dtype travel.

    Attributes:
        number: In tensorflow.DataType.
        name: As a TensorSpec names it.
        dtype: In memory and in `tensor_content`; little-endian. Object for strings.
        field: The TensorProto field of its values.
        bits: Of one value in that field: the dtype itself for the raw fields, unsigned for halfs, int32 for what
            int_val holds.
    """

    number: int
    name: str
    dtype: np.dtype[Any]
    field: int
    bits: np.dtype[Any]


@cache
def by_number(number: int) -> WireType:
    """The dtype of that number.

    Raises:
        CodecError: where neither numpy nor ml_dtypes has it.
    """
    if number not in _DTYPES:
        raise CodecError(f"a tensor has dtype number {number}; it must be one that numpy or ml_dtypes has")
    name, field = _DTYPES[number]
    dtype = numpy_dtype("O" if number == STRING else name)
    bits = np.dtype(_BITS[field]) if field in _BITS else dtype
    return WireType(number, name, dtype, field, bits)


@cache
def by_dtype(dtype: np.dtype[Any]) -> WireType:
    """The dtype that numpy calls so, in any byte order.

    Raises:
        CodecError: where TensorFlow has no such dtype.
    """
    number = STRING if dtype.kind in "OSU" else _NUMBERS.get(dtype.name)
    if number is None:
        raise CodecError(f"dtype {dtype.name} has no counterpart in TensorFlow; cast it, for instance to float32")
    return by_number(number)


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """A dtype by the name of a TensorSpec, little-endian; ml_dtypes is imported only for its own."""
    try:
        dtype: np.dtype[Any] = np.dtype(name)
    except TypeError:
        import ml_dtypes

        try:
            dtype = np.dtype(getattr(ml_dtypes, name))
        except AttributeError as error:
            raise CodecError(f"dtype {name} needs a newer ml_dtypes than {ml_dtypes.__version__}") from error
    little: np.dtype[Any] = dtype.newbyteorder("<")
    return little


def name_of(number: int) -> str | None:
    """The name of a dtype by its number in tensorflow.DataType, or None where numpy has no counterpart."""
    return _DTYPES[number][0] if number in _DTYPES else None


def number_of(name: str) -> int:
    """The number in tensorflow.DataType of a dtype by the name of a TensorSpec, or 0 (DT_INVALID)."""
    return _NUMBERS.get(name, 0)
