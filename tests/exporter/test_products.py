"""What Keras's Dense becomes in an export: the same numbers, by fewer operators."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core.signature import TensorSpec
from attnexport.exporter.endpoint import Endpoint, trace
from attnexport.exporter.products import plain_products

DEPTH, UNITS = 5, 3


def operators(function: Any) -> list[str]:
    return [node.op for node in function.get_concrete_function().graph.as_graph_def().node]


@pytest.mark.parametrize(
    ("shape", "fewer"),
    [
        ((None, 7, DEPTH), True),
        ((None, 2, 7, DEPTH), True),
        ((4, None, DEPTH), True),
        ((None, None, DEPTH), False),  # a reshape leaves one size open
        ((None, 0, DEPTH), False),  # and cannot tell it where there is nothing
        ((4, 7, DEPTH), False),  # TensorFlow sees to it by itself
        (None, False),
    ],
)
def test_a_product_with_a_matrix_asks_for_no_shapes_that_are_known(shape: tuple[int | None, ...], fewer: bool) -> None:
    matrix = tf.constant(np.random.default_rng(0).normal(size=(DEPTH, UNITS)).astype(np.float32))
    specs = [tf.TensorSpec(shape, tf.float32)]
    usual = tf.function(lambda x: tf.tensordot(x, matrix, axes=[[-1], [0]]), input_signature=specs)
    plain = tf.function(lambda x: tf.tensordot(x, matrix, axes=[[-1], [0]]), input_signature=specs)
    before = operators(usual)
    with plain_products():
        after = operators(plain)
    assert tf.tensordot is tf.linalg.tensordot, "it is put back"
    if fewer:
        assert "Shape" in before
        assert not {"Shape", "GatherV2", "Prod", "Pack", "Transpose"} & set(after)
    else:
        assert after == before
    for size in (0, 1, 3):
        sizes = [size if each is None else each for each in shape or (None, 7, DEPTH)]
        x = np.random.default_rng(1).normal(size=sizes).astype(np.float32)
        np.testing.assert_array_equal(plain(x), usual(x))


def test_other_axes_names_and_mistakes_are_tensorflows() -> None:
    x, y = np.ones((2, 3, 4), np.float32), np.ones((4, 3), np.float32)
    for axes in (1, [[1], [1]], [[-1], [0]], ([-1], [0]), np.array([[-1], [0]]), tf.constant([[1], [1]])):
        wanted = tf.tensordot(x, y, axes=axes)
        with plain_products():
            np.testing.assert_array_equal(tf.tensordot(x, y, axes=axes), wanted)
    with plain_products(), pytest.raises(tf.errors.InvalidArgumentError):
        tf.tensordot(x, np.ones((5, 3), np.float32), axes=[[-1], [0]])


def test_a_dense_layer_is_traced_so() -> None:
    layer = keras.layers.Dense(UNITS)
    layer.build((None, 7, DEPTH))
    inputs = (TensorSpec("x", "float32", (None, 7, DEPTH)),)
    traced = trace(Endpoint("serving_default", lambda tensors: {"y": layer(tensors["x"])}, inputs))
    found = operators(traced.function)
    assert "Shape" not in found
    x = np.random.default_rng(0).normal(size=(4, 7, DEPTH)).astype(np.float32)
    np.testing.assert_array_equal(traced.function({"x": x})["y"], layer(x))


def test_no_function_of_an_export_asks_for_shapes(exported_classifier: Any) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        message = tf.compat.v1.saved_model.load(session, ["serve"], str(exported_classifier.path))
    predicting = [each for each in message.graph_def.library.function if "predict" in each.signature.name]
    assert predicting
    for function in predicting:
        assert "Shape" not in [node.op for node in function.node_def], function.signature.name
