"""SignatureDefs and tf.Examples, by TensorFlow's own messages and functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from attnexport.core import ArgumentError, Signature, TensorSpec
from attnexport.core.signature_def import DTYPE_NAMES, DTYPE_NUMBERS, METHOD_NAMES, read_signature, write_signature
from attnexport.core.tf_example import write_example


def test_dtypes_and_methods_are_named_as_tensorflow_names_them() -> None:
    numbers = [number for number in types_pb2.DataType.values() if 0 < number < 100]
    assert {number: tf.dtypes.as_dtype(number).name for number in numbers} == DTYPE_NAMES
    assert {tf.dtypes.as_dtype(name).as_datatype_enum for name in DTYPE_NUMBERS} == set(numbers)
    constants = tf.compat.v1.saved_model
    assert METHOD_NAMES == {
        "predict": constants.PREDICT_METHOD_NAME,
        "classify": constants.CLASSIFY_METHOD_NAME,
        "regress": constants.REGRESS_METHOD_NAME,
    }


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_a_signature_written_is_the_signature_read(method: Any) -> None:
    inputs = (TensorSpec("a", "string", None), TensorSpec("b", "bfloat16", (None, 3)))
    signature = Signature("serving_default", inputs, (TensorSpec("y", "uint64", ()),), method)
    definition = meta_graph_pb2.SignatureDef()
    write_signature(signature, definition)
    assert read_signature("serving_default", definition) == signature
    assert definition.inputs["b"].name == "serving_default_b:0"
    shape = tf.TensorShape(definition.inputs["b"].tensor_shape)
    assert shape.as_list() == [None, 3]
    assert tf.TensorShape(definition.inputs["a"].tensor_shape).rank is None


def test_what_is_not_made_of_single_dense_tensors_is_not_a_signature() -> None:
    write_signature(
        Signature("s", (TensorSpec("x", "int32", ()),), (TensorSpec("y", "int32", ()),)),
        definition := meta_graph_pb2.SignatureDef(),
    )
    for change in (
        lambda changed: changed.inputs["x"].coo_sparse.SetInParent(),
        lambda changed: changed.ClearField("outputs"),
        lambda changed: changed.ClearField("inputs"),
        lambda changed: setattr(changed.outputs["y"], "dtype", 0),
    ):
        changed = meta_graph_pb2.SignatureDef()
        changed.CopyFrom(definition)
        change(changed)
        assert read_signature("s", changed) is None


def test_an_example_is_parsed_by_tensorflow_as_it_was_written() -> None:
    example = tf.train.Example()
    write_example(
        {"n": [1, -2], "b": True, "f": np.float64(2.5), "h": tf.bfloat16.as_numpy_dtype(1.5), "s": ["é", b"\xff\0"]},
        example,
    )
    parsed = tf.io.parse_single_example(
        example.SerializeToString(),
        {
            "n": tf.io.FixedLenFeature([2], tf.int64),
            "b": tf.io.FixedLenFeature([], tf.int64),
            "f": tf.io.FixedLenFeature([], tf.float32),
            "h": tf.io.FixedLenFeature([], tf.float32),
            "s": tf.io.FixedLenFeature([2], tf.string),
        },
    )
    values = {name: tensor.numpy() for name, tensor in parsed.items()}
    assert values["n"].tolist() == [1, -2]
    assert (values["b"], values["f"], values["h"]) == (1, 2.5, 1.5)
    assert values["s"].tolist() == ["é".encode(), b"\xff\0"]
    for value in (None, 1j, 2**63, [1, None]):
        with pytest.raises(ArgumentError, match="example 3, feature 'x'"):
            write_example({"x": value}, tf.train.Example(), "example 3")
