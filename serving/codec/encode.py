"""numpy to TensorProto, written straight to the wire: the values are copied once, into the message."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, Literal

import numpy as np

from attnexport.core.errors import CodecError
from attnexport.core.signature import Array

from .dtypes import CONTENT, DTYPE, RAW_FIELDS, SHAPE, STRING, WireType, by_dtype
from .wire import LENGTH, VARINT, pack_varints, varint

Form = Literal["content", "values", "packed"]

# What a message is joined from: bytes, and arrays that are contiguous in memory.
Chunks = list[Any]
_MAX_BYTES = 2**31 - 1
_ITEM = b"\x42"  # the key of one string in string_val


def encode_tensor(array: Any, form: Form = "content") -> bytes:
    """An array as the bytes of a TensorProto.

    Args:
        array: Any array or number, of any layout and byte order; strings as an object array of bytes or str (UTF-8 on
            the wire), or numpy's own fixed-width strings.
        form: `content` puts the memory into `tensor_content`, which is the fast form; `values` fills the `*_val`
            field of the dtype, as TF Serving does by default. Strings are in string_val in both. `packed` is `content`
            with strings in tensor_content, too, as TF Serving answers with
            `--enable_serialization_as_tensor_content`: all lengths, then all bytes.

    Raises:
        CodecError: if the dtype has no counterpart, or a string array holds something else.

    Example:
        >>> encode_tensor([1.5]).hex(" ")
        '08 02 12 04 12 02 08 01 22 08 00 00 00 00 00 00 f8 3f'
    """
    chunks, size = tensor_chunks(array, form)
    check_size(size)
    return b"".join(chunks)


def tensor_chunks(array: Any, form: Form) -> tuple[Chunks, int]:
    """The pieces of a TensorProto, and the sum of their bytes."""
    if type(array) is not np.ndarray:
        if isinstance(array, np.ma.MaskedArray):
            raise CodecError("a masked array cannot be sent: a tensor has no mask; send array.filled(value)")
        array = np.asarray(array)
    kind = by_dtype(array.dtype)
    if kind.number == STRING:
        return _strings(_header(kind.number, array.shape), array, packed=form == "packed")
    array = np.asarray(array, kind.dtype, order="C")
    head = raw_head(array.dtype, array.shape, form)
    if head is not None:
        return [head, array], len(head) + array.nbytes
    header = _header(kind.number, array.shape)
    if not array.size:
        return [header], len(header)
    packed = _packed(kind, array.reshape(-1))
    head = header + varint(kind.field << 3 | LENGTH) + varint(len(packed))
    return [head, packed], len(head) + len(packed)


@lru_cache(maxsize=256)  # a server answers in few shapes
def raw_head(dtype: np.dtype[Any], shape: tuple[int, ...], form: Form) -> bytes | None:
    """What a TensorProto has before an array's memory; None if its memory is not what is sent."""
    kind = by_dtype(dtype)
    field, size = kind.field if form == "values" else CONTENT, prod(shape) * dtype.itemsize
    if kind.number == STRING or dtype != kind.dtype or not size or field not in (CONTENT, *RAW_FIELDS):
        return None
    return _header(kind.number, shape) + varint(field << 3 | LENGTH) + varint(size)


def check_size(size: int) -> None:
    """Refuse a message that no protobuf parser would read."""
    if size > _MAX_BYTES:
        raise CodecError(f"a message would be {size:,} bytes; the limit is 2 GiB, send smaller batches")


def _header(number: int, shape: tuple[int, ...]) -> bytes:
    dims = b"".join([_dim(size) for size in shape])
    return bytes((DTYPE << 3 | VARINT, number, SHAPE << 3 | LENGTH)) + varint(len(dims)) + dims


def _dim(size: int) -> bytes:
    if size == 0:
        return b"\x12\x00"  # as protobuf writes the default of a number: not at all
    encoded = varint(size)
    return b"\x12" + varint(len(encoded) + 1) + b"\x08" + encoded


def _packed(kind: WireType, flat: Array) -> bytes:
    if kind.bits.itemsize == flat.dtype.itemsize and kind.bits.kind != flat.dtype.kind:
        flat = flat.view(kind.bits)  # halfs and booleans: their bits
    elif flat.dtype.kind not in "iu":
        flat = flat.astype(kind.bits)  # ml_dtypes' small integers
    return pack_varints(flat)


def _strings(header: bytes, array: Array, *, packed: bool) -> tuple[Chunks, int]:
    texts = _texts(array)
    if packed and texts:
        content = b"".join([*(varint(len(text)) for text in texts), *texts])
        chunks: Chunks = [header, varint(CONTENT << 3 | LENGTH), varint(len(content)), content]
    else:
        chunks = [header, *(piece for text in texts for piece in (_ITEM, varint(len(text)), text))]
    return chunks, sum(map(len, chunks))


def _texts(array: Array) -> list[bytes]:
    texts = []
    for item in array.reshape(-1).tolist():
        try:
            text = item.encode() if isinstance(item, str) else item
        except UnicodeEncodeError as error:
            raise CodecError(f"{item!r:.60} cannot be written as UTF-8") from error
        if not isinstance(text, bytes):
            raise CodecError(f"an object array holds {type(item).__name__}; give bytes or str")
        texts.append(text)
    return texts
