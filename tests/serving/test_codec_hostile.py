"""Bytes that lie: an error within bounded memory, never anything else."""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from attnexport.core import CodecError
from attnexport.serving.codec import (
    ServedModel,
    decode_predict_reply,
    decode_predict_request,
    decode_tensor,
    encode_predict_reply,
    encode_predict_request,
    encode_tensor,
)

MOST = 4 << 20  # bytes of memory that a small hostile message may take


def proto(dtype: int, sizes: list[int], **values: Any) -> bytes:
    made = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in sizes:
        made.tensor_shape.dim.add(size=size)
    return made.SerializeToString()


def refused_in_little_memory(data: bytes, words: str = "") -> None:
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match=words):
            decode_tensor(data)
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (proto(1, [-1], float_val=[1.0]), "dimension 0 of a tensor is negative"),
        (proto(1, [2, -(2**63)], float_val=[1.0]), "dimension 1 of a tensor is negative"),
        (proto(1, [2**40], float_val=[1.0]), "would be filled up from 1 values"),
        (proto(1, [2**62, 2**62, 4]), "would be filled up from 0 values"),
        (proto(7, [2**40], string_val=[b"a"]), "would be filled up from 1 values"),
        (proto(7, [2**40], tensor_content=b"abc"), "it claims 1099511627776 strings in 3 bytes"),
        (proto(1, [2**63 - 1, 2**63 - 1], tensor_content=b"abcd"), "comes with 1 values"),
        (proto(1, [0, 2**62, 2**62], tensor_content=b"abcd"), "comes with 1 values"),
        (proto(1, [0, 2**62, 2**62]), "comes with 0 values"),
        (proto(1, [3], tensor_content=b"abcde"), "not a whole number of float32"),
        (proto(1, [3], tensor_content=b"abcd"), "comes with 1 values"),
        (proto(1, [1], float_val=[1.0, 2.0]), "comes with 2 values"),
        (proto(8, [1], scomplex_val=[1.0]), "not a whole number of complex64"),
        (proto(4, [2], int_val=[1, 256]), "int_val holds numbers outside uint8"),
        (proto(6, [2], int_val=[1, -129]), "outside int8"),
        (proto(19, [1], half_val=[65536]), "more than 16 bits"),
        (proto(1, [1] * 65, float_val=[1.0]), "more than 64 dimensions"),
        (proto(20, [1]), "dtype number 20"),
        (proto(0, [1]), "dtype number 0"),
        (b"", "dtype number 0"),
        (b"\x08", "do not hold a whole varint"),
        (b"\x08\x01\x22\xff\xff\xff\xff\x0fab", "claims 4294967295 bytes where 2 are left"),
        (b"\x08\x01\x22\x05ab", "claims 5 bytes"),
        (b"\x08\x01\x2d\x00\x00", "cut off"),
        (b"\x08\x09\x52\x02\x01\x80", "cut off in the middle"),
        (b"\x08\x09\x52\x0c" + b"\x80" * 11 + b"\x01", "packed integers are damaged"),
        (b"\x08\x01\x2b", "the bytes are not a tensor"),
        (b"\xff" * 40, "do not hold a whole varint"),
    ],
)
def test_lies_about_dimensions_lengths_and_values_are_refused(data: bytes, words: str) -> None:
    refused_in_little_memory(data, words)


def test_what_is_filled_is_bounded_and_the_bound_can_be_lowered() -> None:
    million = proto(1, [1000, 1000], float_val=[2.5])
    assert (decode_tensor(million) == 2.5).all()
    with pytest.raises(CodecError, match="the limit of that is 1,000 bytes"):
        decode_tensor(million, splat_limit=1000)
    request = predict_pb2.PredictRequest()
    request.inputs["x"].ParseFromString(million)
    with pytest.raises(CodecError, match="'x': a tensor of shape"):
        decode_predict_request(request.SerializeToString(), splat_limit=1000)


@given(st.binary(max_size=60))
@settings(max_examples=1500)
def test_any_bytes_are_a_tensor_or_an_error(data: bytes) -> None:
    for decode in (decode_tensor, decode_predict_request, decode_predict_reply):
        with contextlib.suppress(CodecError):
            decode(data, splat_limit=1 << 20)  # type: ignore[operator]


GOOD = [
    encode_tensor(np.arange(6, dtype="f").reshape(2, 3)),
    encode_tensor(np.arange(-3, 300), "values"),
    encode_tensor(np.array([b"ab", b""], object)),
    encode_tensor(np.arange(6, dtype="f2"), "values"),
]


@given(st.sampled_from(GOOD), st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 10_000))
@settings(max_examples=1500)
def test_a_changed_byte_gives_what_tensorflow_gives_or_an_error(data: bytes, at: int, byte: int, cut: int) -> None:
    """Where both read something, they read the same."""
    changed = bytearray(data)
    changed[at % len(data)] = byte
    mutated = bytes(changed[: cut % (3 * len(data)) or None])
    try:
        ours = decode_tensor(mutated, splat_limit=1 << 20)
    except CodecError:
        return
    try:
        parsed = tensor_pb2.TensorProto.FromString(mutated)
    except DecodeError:
        return  # for a fault in a field that has no meaning for the dtype, which we pass over
    if parsed.dtype == 7 and parsed.tensor_content:
        return  # which make_ndarray cannot read
    if parsed.dtype in range(24, 34) or (parsed.dtype in (8, 18) and not parsed.tensor_content):
        return  # of these it reads some forms wrongly, and others not
    theirs = tf.make_ndarray(parsed)
    assert theirs.shape == ours.shape
    if theirs.dtype != object and theirs.dtype.kind != "b":
        assert theirs.tobytes() == ours.tobytes()


def test_legal_forms_that_no_serializer_writes_are_read_as_a_parser_reads_them() -> None:
    """Fields in parts, lists that are not packed, groups and unknown fields, a dimension with a name."""
    one, two = (np.array([value], "<f4").tobytes() for value in (1.5, 2.5))
    dims = b"\x12\x07\x12\x05\x12\x01n\x08\x02"
    for data in (
        b"\x08\x01" + dims + b"\x2d" + one + b"\x2d" + two,
        b"\x08\x01" + dims + b"\x2a\x04" + one + b"\x2a\x04" + two,
        b"\x08\x01\x12\x00" + dims + b"\x22\x02ab\x22\x08" + one + two,
        b"\x08\x02\x08\x01" + dims + b"\x2a\x08" + one + two + b"\xf8\x07\x01" + b"\xfb\x07\xfc\x07",
    ):
        expected = tf.make_ndarray(tensor_pb2.TensorProto.FromString(data))
        assert expected.tolist() == [1.5, 2.5]
        assert decode_tensor(data).tolist() == expected.tolist()
    assert not decode_tensor(b"\x08\x0a\x12\x04\x12\x02\x08\x02\x22\x02\x00\x00").any()
    booleans = decode_tensor(b"\x08\x0a\x12\x04\x12\x02\x08\x02\x22\x02\x02\x00")
    assert booleans.view(np.uint8).tolist() == [1, 0]  # the byte 2 is no boolean of numpy's


def test_predict_messages_in_parts_and_with_repeated_keys() -> None:
    spec = ServedModel("m", 3, None, "s")
    first = encode_predict_request(spec, {"x": np.zeros(2, "f")}, ["y"])
    second = encode_predict_request(ServedModel("n"), {"x": np.ones(3, "f"), "é": np.array(1)}, ["z"])
    parsed = predict_pb2.PredictRequest.FromString(first + second)
    call = decode_predict_request(first + second)
    assert (call.model.name, call.model.version, call.model.signature) == ("n", 3, "s")
    assert (parsed.model_spec.name, list(parsed.output_filter)) == ("n", list(call.outputs))
    assert {name: each.shape for name, each in call.inputs.items()} == {"x": (3,), "é": ()}
    reply = encode_predict_reply(ServedModel("m", 0, None, "s"), {"y": np.ones(2)}, "content")
    assert decode_predict_reply(reply).model == ServedModel("m", 0, None, "s")
    assert decode_predict_reply(b"").model == ServedModel("")
