"""The codec against tf.make_tensor_proto and tf.make_ndarray, both ways and in both forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2, types_pb2

from attnexport.core import CodecError
from attnexport.core.signature_def import DTYPE_NAMES
from attnexport.serving.codec import decode_tensor, dtypes, encode_tensor, wire

NUMBERS = {DTYPE_NAMES[number]: number for number in dtypes._FIELDS if number != dtypes.STRING}
# TensorFlow's functions know these in tensor_content alone, so not where that is empty.
CONTENT_ONLY = {"float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz"}
LAYOUTS = ("c", "fortran", "strided", "reversed", "big-endian")


def same(actual: Any, expected: Any) -> None:
    """The same dtype, shape and bits."""
    expected = np.asarray(expected)
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if expected.dtype == object:
        assert actual.tolist() == expected.tolist()
    else:
        assert actual.tobytes() == expected.tobytes()


def same_as_tensorflow(actual: Any, expected: Any) -> None:
    """The same, but for the bits of a NaN that TensorFlow changes: in complex numbers, and of a signalling float32."""
    expected = np.asarray(expected)
    if expected.dtype in (np.float32, np.complex64, np.complex128) and np.isnan(expected).any():
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(actual, expected)
    else:
        same(actual, expected)


def laid_out(array: np.ndarray[Any, Any], layout: str) -> np.ndarray[Any, Any]:
    """The same values in another layout of memory."""
    if layout == "fortran" and array.ndim:
        return np.asfortranarray(array)
    if layout == "strided" and array.ndim:
        return np.repeat(array, 2, axis=0)[::2]
    if layout == "reversed" and array.ndim:
        return np.ascontiguousarray(array[::-1])[::-1]
    if layout == "big-endian" and array.dtype.kind in "iufc":
        return array.astype(array.dtype.newbyteorder(">"))
    return array


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Any bits of any dtype, in any shape: scalars and empty ones too."""
    dtype = dtypes.numpy_dtype(draw(st.sampled_from(sorted(NUMBERS))))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8)
    if dtype.kind == "b":
        raw = raw & 1
    if dtype.name in ("int4", "uint4", "int2", "uint2"):  # the bits that they have, in bytes of their own
        return (raw & 3).astype(dtype).reshape(shape) if "2" in dtype.name else (raw & 7).astype(dtype).reshape(shape)
    if dtype.name == "float4_e2m1fn":
        raw = raw & 15
    return raw.view(dtype).reshape(shape)


@given(arrays(), st.sampled_from(LAYOUTS), st.sampled_from(["content", "values"]))
@settings(max_examples=400)
def test_what_is_encoded_is_what_tensorflow_reads(array: np.ndarray[Any, Any], layout: str, form: Any) -> None:
    encoded = encode_tensor(laid_out(array, layout), form)
    same(decode_tensor(encoded), array)
    if array.dtype.name not in CONTENT_ONLY or (form == "content" and array.size):
        same_as_tensorflow(tf.make_ndarray(tensor_pb2.TensorProto.FromString(encoded)), array)


@given(arrays(), st.sampled_from([layout for layout in LAYOUTS if layout != "big-endian"]))  # which TF gets wrong
@settings(max_examples=300)
def test_what_tensorflow_encodes_is_decoded(array: np.ndarray[Any, Any], layout: str) -> None:
    """One element goes into a `*_val` field, more into tensor_content; as TF does it, the bytes are ours too."""
    assume(array.dtype.name not in CONTENT_ONLY or array.size > 1)
    proto = tf.make_tensor_proto(laid_out(array, layout))
    same_as_tensorflow(decode_tensor(proto.SerializeToString()), array)
    if proto.tensor_content:
        assert encode_tensor(array) == proto.SerializeToString(deterministic=True)


def field_of(name: str) -> str:
    return {
        "bfloat16": "half_val", "float16": "half_val", "float32": "float_val", "float64": "double_val",
        "int64": "int64_val", "uint32": "uint32_val", "uint64": "uint64_val", "bool": "bool_val",
    }.get(name, "int_val")  # fmt: skip


@st.composite
def value_lists(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    """`*_val` of any length up to what the shape wants: splats, and none at all."""
    name = draw(st.sampled_from([name for name in sorted(NUMBERS) if "float8" not in name and "float4" not in name]))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    most = int(np.prod(shape))
    proto = tensor_pb2.TensorProto(dtype=NUMBERS[name])
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    if name.startswith("complex"):
        halves = proto.scomplex_val if name == "complex64" else proto.dcomplex_val
        halves.extend(2 * draw(st.lists(st.floats(width=32), max_size=most)))
        return proto
    dtype = dtypes.numpy_dtype(name)
    if "float" in name:
        wide = st.integers(0, 2**16 - 1) if "16" in name else st.floats(width=32 if name == "float32" else 64)
    elif name == "bool":
        wide = st.booleans()
    else:
        import ml_dtypes

        bounds = ml_dtypes.iinfo(dtype)
        wide = st.integers(int(bounds.min), int(bounds.max))
    getattr(proto, field_of(name)).extend(draw(st.lists(wide, max_size=most)))
    return proto


@given(value_lists())
@settings(max_examples=400)
def test_every_values_field_is_read_as_tensorflow_reads_it_with_splat(proto: tensor_pb2.TensorProto) -> None:
    same_as_tensorflow(decode_tensor(proto.SerializeToString()), tf.make_ndarray(proto))


@pytest.mark.parametrize("form", ["content", "values"])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"])
def test_our_own_round_trip_keeps_the_bits_of_every_nan(name: str, form: Any) -> None:
    dtype = dtypes.numpy_dtype(name)
    half = np.array([0x7D01, 0xFE55] if name == "float16" else [0x7F81, 0xFFC7], "<u2")
    single = np.array([0x7FA00001, 0xFFC12345], "<u4")
    double = np.array([0x7FF4000000000001, 0xFFF8000000054321], "<u8")
    raw = {"float16": half, "bfloat16": half, "float32": single, "complex64": single}.get(name, double)
    array = raw.view(dtype)
    assert array.shape == (2,) or dtype.kind == "c"
    same(decode_tensor(encode_tensor(array, form)), array)


def test_large_and_negative_integers_in_lists() -> None:
    values = np.concatenate([np.array([-1, 0, 127, 128, -(2**63), 2**63 - 1]), np.arange(-300, 300) ** 5])
    packed = encode_tensor(values, "values")
    same(decode_tensor(packed), values)
    with pytest.raises(CodecError, match="packed integers are damaged"):
        decode_tensor(b"\x08\x09\x52\x0b" + b"\x80" * 10 + b"\x01")


@given(st.lists(st.one_of(st.binary(max_size=200), st.text(max_size=20)), max_size=6), st.sampled_from([1, 2]))
def test_strings_are_object_arrays_of_bytes(items: list[Any], rank: int) -> None:
    array = np.empty(len(items), object)
    array[:] = items
    array = array.reshape((1, -1)) if rank == 2 else array
    expected = np.empty(len(items), object)
    expected[:] = [item.encode() if isinstance(item, str) else item for item in items]
    encoded = encode_tensor(array)
    same(decode_tensor(encoded), expected.reshape(array.shape))
    if items:
        same(tf.make_ndarray(tensor_pb2.TensorProto.FromString(encoded)), expected.reshape(array.shape))
        theirs = tf.make_tensor_proto(expected.reshape(array.shape))
        assert encoded == theirs.SerializeToString(deterministic=True)


def test_fixed_width_strings_scalars_and_plain_numbers() -> None:
    same(decode_tensor(encode_tensor(np.array(["é", "b"]))), np.array(["é".encode(), b"b"], object))
    same(decode_tensor(encode_tensor(np.array(b"x"))), np.array(b"x", object))
    same(decode_tensor(encode_tensor(np.float32(2.5))), np.array(2.5, "f"))
    same(decode_tensor(encode_tensor(7)), np.array(7))
    same(decode_tensor(encode_tensor([[True], [False]])), np.array([[True], [False]]))
    half = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[b"a"])
    half.tensor_shape.dim.add(size=3)
    same(decode_tensor(half.SerializeToString()), np.array([b"a"] * 3, object))


def test_strings_in_tensor_content_which_the_server_sends_and_make_ndarray_cannot_read() -> None:
    """TensorFlow's own parser is the oracle."""
    items = [b"", b"ab", b"x" * 300]
    content = b"".join(wire.varint(len(item)) for item in items) + b"".join(items)
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_content=content)
    proto.tensor_shape.dim.add(size=3)
    data = proto.SerializeToString()
    assert tf.io.parse_tensor(data, tf.string).numpy().tolist() == items
    same(decode_tensor(data), np.array(items, object))
    for damaged in (content[:-1], content + b"x", b"\x05", b""):
        proto.tensor_content = damaged or b"\xff"
        with pytest.raises(CodecError):
            decode_tensor(proto.SerializeToString())


def test_unknown_rank_is_read_as_make_ndarray_reads_it() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[2.5])
    proto.tensor_shape.unknown_rank = True
    same_as_tensorflow(decode_tensor(proto.SerializeToString()), tf.make_ndarray(proto))
    proto.float_val.append(1.0)
    with pytest.raises(ValueError, match="negative"):
        tf.make_ndarray(proto)
    with pytest.raises(CodecError, match="comes with 2 values"):
        decode_tensor(proto.SerializeToString())


def test_arrays_share_the_message_and_are_read_only_in_both_forms() -> None:
    values = np.arange(1000, dtype="f")
    for form in ("content", "values"):
        data = encode_tensor(values, form)  # type: ignore[arg-type]
        decoded = decode_tensor(data)
        assert not decoded.flags.writeable
        assert np.shares_memory(decoded, np.frombuffer(data, np.uint8))
    assert not decode_tensor(encode_tensor(np.arange(1000), "values")).flags.writeable


def test_what_no_tensor_holds_is_refused() -> None:
    for array, words in (
        (np.zeros(2, "M8[s]"), "no counterpart in TensorFlow"),
        (np.zeros(2, [("a", "f4")]), "no counterpart"),
        (np.array([b"a", None], object), "holds NoneType; give bytes or str"),
        (np.ma.masked_array([1.0], [True]), "a tensor has no mask"),
    ):
        with pytest.raises(CodecError, match=words):
            encode_tensor(array)


@pytest.mark.parametrize(("field", "dtype"), [("scomplex_val", tf.complex64), ("dcomplex_val", tf.complex128)])
def test_a_real_part_without_its_imaginary_part_is_left_out_as_by_tensorflows_runtime(field: str, dtype: Any) -> None:
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    proto.tensor_shape.dim.add(size=2)
    getattr(proto, field).extend([1.0, 2.0, 3.0])
    data = proto.SerializeToString()
    same(decode_tensor(data, lenient=True), tf.io.parse_tensor(data, dtype).numpy())
    with pytest.raises(CodecError, match="not a whole number"):
        decode_tensor(data)


def test_bytes_beyond_an_empty_shape_are_ignored_as_by_tensorflows_runtime() -> None:
    for dtype, content in ((tf.int32, b"abc"), (tf.string, b"\x01a"), (tf.half, b"_")):
        proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, tensor_content=content)
        proto.tensor_shape.dim.add(size=0)
        data = proto.SerializeToString()
        same(decode_tensor(data, lenient=True), tf.io.parse_tensor(data, dtype).numpy())
        with pytest.raises(CodecError):
            decode_tensor(data)


def test_booleans_are_the_bytes_0_and_1_as_to_tensorflows_runtime() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_BOOL, tensor_content=b"\x01\x02")
    proto.tensor_shape.dim.add(size=2)
    data = proto.SerializeToString()
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_tensor(data, tf.bool)
    with pytest.raises(CodecError, match="0 or 1"):
        decode_tensor(data, lenient=True)
    assert decode_tensor(data).tolist() == [True, True]


def test_the_table_of_dtypes_is_the_enum_of_tensorflow() -> None:
    for name, number in NUMBERS.items():
        assert tf.dtypes.as_dtype(number).name == name
        assert np.dtype(tf.dtypes.as_dtype(number).as_numpy_dtype) == dtypes.numpy_dtype(name)
    unknown = {"qint8", "quint8", "qint16", "quint16", "qint32", "resource", "variant", "string"}
    named = {tf.dtypes.as_dtype(n).name for n in types_pb2.DataType.values() if 0 < n < 100}
    assert named - set(NUMBERS) == unknown
    content_only = {name for name in NUMBERS if dtypes.by_number(NUMBERS[name]).field == 18} - {"float8_e5m2"}
    assert content_only >= CONTENT_ONLY
