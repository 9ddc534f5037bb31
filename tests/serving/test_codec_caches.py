"""Messages of dtypes and shapes that were met before say what they say to a reader that has met none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from attnexport.core import CodecError
from attnexport.serving.codec import (
    PredictAnswer,
    PredictCall,
    ServedModel,
    decode,
    decode_predict_reply,
    decode_predict_request,
    encode_predict_reply,
    encode_predict_request,
)

MODEL = ServedModel("a_model_with_a_name", 3, None, "serving_default")


@pytest.fixture(autouse=True)
def nothing_cached() -> None:
    decode._read_head.cache_clear()


def cached() -> int:
    return decode._read_head.cache_info().currsize


def alone(data: bytes) -> PredictCall | str:
    """What a message says to a reader that has met none, or that it is refused."""
    decode._read_head.cache_clear()
    return told(data)


def told(data: bytes) -> PredictCall | str:
    try:
        return decode_predict_request(data)
    except CodecError as error:
        return str(error)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    return (one.model, one.outputs, list(one.inputs)) == (other.model, other.outputs, list(other.inputs)) and all(
        (array.dtype, array.shape, array.tobytes())
        == (other.inputs[name].dtype, other.inputs[name].shape, other.inputs[name].tobytes())
        for name, array in one.inputs.items()
    )


def inputs(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "ids": rng.integers(0, 100, (2, 5)),
        "mask": rng.integers(-9, 9, (2, 5)).astype(np.int8),
        "x": rng.normal(size=(2, 5, 3)).astype(np.float32),
    }


def test_other_values_of_the_same_dtypes_and_shapes_are_other_values() -> None:
    for seed in range(3):
        message = predict_pb2.PredictRequest.FromString(encode_predict_request(MODEL, inputs(seed), ["y"]))
        call = decode_predict_request(message.SerializeToString(deterministic=True))
        assert call.model == MODEL
        assert call.outputs == ("y",)
        assert call.inputs.keys() == inputs(seed).keys()
        for name, tensor in message.inputs.items():
            np.testing.assert_array_equal(call.inputs[name], tf.make_ndarray(tensor))
            assert call.inputs[name].dtype == tf.make_ndarray(tensor).dtype
            assert not call.inputs[name].flags.writeable
        assert cached() == 3, "one for each dtype and shape"


def test_replies_too_in_both_forms() -> None:
    for form in ("values", "content"):
        for seed in (1, 2):
            outputs = {"scores": np.random.default_rng(seed).normal(size=(4, 10)).astype(np.float32)}
            reply = encode_predict_reply(MODEL, outputs, form)
            message = predict_pb2.PredictResponse.FromString(reply)
            np.testing.assert_array_equal(tf.make_ndarray(message.outputs["scores"]), outputs["scores"])
            answer = decode_predict_reply(reply)
            assert isinstance(answer, PredictAnswer)
            assert answer.model == MODEL
            np.testing.assert_array_equal(answer.outputs["scores"], outputs["scores"])
    assert cached() == 2


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (np.array([True, False]), "content"),  # other bytes than 0 and 1 are looked for
        (np.arange(3), "values"),  # varints, of which larger ones are longer
        (np.array([b"ab"], object), "content"),
        (np.zeros((0, 3), np.float32), "content"),
    ],
)
def test_what_is_computed_from_a_message_is_computed_each_time(array: np.ndarray[Any, Any], form: Any) -> None:
    data = encode_predict_request(MODEL, {"x": array}, form=form)
    for _ in range(2):
        np.testing.assert_array_equal(decode_predict_request(data).inputs["x"], array)
    if array.dtype.kind == "b":
        for _ in range(2):
            with pytest.raises(CodecError, match="must be 0 or 1"):
                decode_predict_request(data.replace(b"\x22\x02\x01\x00", b"\x22\x02\x02\x00"))


def test_fewer_values_than_the_shape_holds_are_filled_up_each_time() -> None:
    request = predict_pb2.PredictRequest.FromString(encode_predict_request(MODEL, {}))
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros((2, 3), np.float32)))
    decode_predict_request(request.SerializeToString())
    request.inputs["x"].ClearField("tensor_content")
    request.inputs["x"].float_val.append(7)
    for _ in range(2):
        call = decode_predict_request(request.SerializeToString())
        np.testing.assert_array_equal(call.inputs["x"], np.full((2, 3), 7, np.float32))


FIRST, SECOND = (encode_predict_request(MODEL, inputs(seed), ["y", "z"]) for seed in (0, 1))


@settings(max_examples=400)
@given(st.integers(0, len(SECOND) - 1), st.integers(0, 255), st.booleans())
def test_a_byte_changed_anywhere_means_what_it_means_alone(place: int, byte: int, tail: bool) -> None:
    """Around the values too: in names, lengths, shapes and dtypes."""
    changed = SECOND[:place] + bytes([byte]) + SECOND[place + 1 :]
    if tail:  # another message of the same length
        changed = changed[:-2] + changed[-1:] + changed[-2:-1]
    wanted = alone(changed)
    decode._read_head.cache_clear()
    decode_predict_request(FIRST)
    assert cached() == 3
    assert same(told(changed), wanted)


def test_shapes_that_clients_make_up_do_not_fill_the_memory() -> None:
    for count in range(1, 2000):
        x = np.full((1, count), count, np.float32)
        request = encode_predict_request(ServedModel("m" * (count // 9), count), {"x": x})
        np.testing.assert_array_equal(decode_predict_request(request).inputs["x"], x)
    assert cached() == decode._MAX_HEADS
