"""The dtypes that TensorFlow and numpy (or ml_dtypes) share: where a TensorProto holds their values.

Numbers are those of the enum tensorflow.DataType, field numbers those of tensorflow.TensorProto; tests hold both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from attnexport.core.errors import CodecError
from attnexport.core.signature_def import DTYPE_NAMES, DTYPE_NUMBERS

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

# Number: the field of the values. Quantized types, resources and variants have no counterpart in numpy.
_FIELDS = {
    1: _FLOAT, 2: _DOUBLE, 3: _INT, 4: _INT, 5: _INT, 6: _INT, STRING: STRING_VAL, 8: _SCOMPLEX, 9: _INT64, 10: _BOOL,
    14: _HALF, 17: _INT, 18: _DCOMPLEX, 19: _HALF, 22: _UINT32, 23: _UINT64, 24: _FLOAT8, 25: _FLOAT8, 26: _FLOAT8,
    27: _FLOAT8, 28: _FLOAT8, 29: _INT, 30: _INT, 31: _INT, 32: _INT, 33: _FLOAT8,
}  # fmt: skip


@dataclass(frozen=True)
class WireType:
    """How the elements of a dtype travel.

    Attributes:
        number: Number in tensorflow.DataType.
        name: Its name in a TensorSpec.
        dtype: Dtype in memory and in `tensor_content`; little-endian. Object for strings.
        field: The TensorProto field of its values.
        bits: Dtype of one value in that field: the dtype itself for the raw fields, unsigned for halfs, int32 for what
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
        CodecError: if neither numpy nor ml_dtypes has it.
    """
    if number not in _FIELDS:
        raise CodecError(f"a tensor has dtype number {number}; it must be one that numpy or ml_dtypes has")
    name, field = DTYPE_NAMES[number], _FIELDS[number]
    dtype = numpy_dtype("O" if number == STRING else name)
    bits = np.dtype(_BITS[field]) if field in _BITS else dtype
    return WireType(number, name, dtype, field, bits)


@cache
def by_dtype(dtype: np.dtype[Any]) -> WireType:
    """The dtype of that numpy dtype, in any byte order.

    Raises:
        CodecError: if TensorFlow has no such dtype.
    """
    number = STRING if dtype.kind in "OSU" else DTYPE_NUMBERS.get(dtype.name)
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
