"""What Keras's Dense becomes in an export: the same numbers, by fewer operators."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core.signature import TensorSpec
from attnexport.exporter.endpoint import Endpoint, trace
from attnexport.exporter.graph_shapes import simplify_reshapes
from attnexport.exporter.saved_model import write_saved_model

DEPTH, UNITS = 5, 3
COMPUTED = {"Shape", "GatherV2", "Prod", "Pack", "Transpose"}

Shape = tuple[int | None, ...] | None


def rewritten(function: Any, shape: Shape) -> tuple[Counter[str], Counter[str], Any]:
    """The operators of a function before and after, and the rewritten function, to be called in a graph."""
    outer = tf.Graph()
    with outer.as_default():
        function.get_concrete_function(tf.TensorSpec(shape, tf.float32))
        placeholder = tf.compat.v1.placeholder(tf.float32, shape, name="x")
        tf.identity(function(placeholder), name="y")
    definition = outer.as_graph_def(add_shapes=True)
    before = Counter(node.op for each in definition.library.function for node in each.node_def)
    changed = simplify_reshapes(definition)
    after = Counter(node.op for each in definition.library.function for node in each.node_def)
    assert changed == (before != after)

    def run(x: Any) -> Any:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            tf.import_graph_def(definition, name="")
            return session.run("y:0", {"x:0": x})

    return before, after, run


@pytest.mark.parametrize(
    ("shape", "fewer"),
    [
        ((None, 7, DEPTH), COMPUTED),
        ((None, 2, 7, DEPTH), COMPUTED),
        ((4, None, DEPTH), COMPUTED),
        ((None, None, DEPTH), {"Transpose"}),  # the product's shape leaves two sizes open
        ((None, 0, DEPTH), {"Transpose"}),  # and cannot be told where there is nothing
        ((4, 7, DEPTH), set()),  # TensorFlow sees to it by itself
        (None, set()),
    ],
)
def test_a_product_with_a_matrix_computes_no_shapes_that_are_known(shape: Shape, fewer: set[str]) -> None:
    matrix = np.random.default_rng(0).normal(size=(DEPTH, UNITS)).astype(np.float32)
    usual = tf.function(lambda x: tf.tensordot(x, matrix, axes=[[-1], [0]]), autograph=False)
    before, after, run = rewritten(usual, shape)
    assert not fewer & set(after)
    if not fewer:
        assert after == before
    for size in (0, 1, 3):
        sizes = [size if each is None else each for each in shape or (None, 7, DEPTH)]
        x = np.random.default_rng(1).normal(size=sizes).astype(np.float32)
        np.testing.assert_array_equal(run(x), usual(x))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.reshape(x, [tf.shape(x)[0], DEPTH, -1]),
        lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:1], [DEPTH, 7]], 0)),
        lambda x: tf.reshape(tf.transpose(x, [0, 2, 1]), [-1, 7 * DEPTH]),
        lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0] * 7, DEPTH])),
        lambda x: tf.tensordot(x, np.ones((4, 7, 2), np.float32), axes=[[1], [1]]),
    ],
)
def test_other_reshapes_give_the_same(function: Any) -> None:
    shape = (None, 7, DEPTH)
    _, _, run = rewritten(tf.function(function, autograph=False), shape)
    for size in (1, 2):
        x = np.random.default_rng(1).normal(size=(size, 7, DEPTH)).astype(np.float32)
        np.testing.assert_array_equal(run(x), function(tf.constant(x)))


def small_model() -> Any:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((7, DEPTH), name="x"), keras.layers.Dense(4, "relu"), keras.layers.Dense(UNITS)]
    return keras.Sequential(layers)


def test_a_dense_layer_is_five_operators_in_a_saved_model(tmp_path: Path) -> None:
    model = small_model()
    inputs = (TensorSpec("x", "float32", (None, 7, DEPTH)),)
    traced = trace(Endpoint("serving_default", lambda tensors: {"y": model(tensors["x"])}, inputs))
    write_saved_model(tmp_path / "saved", [traced])
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        message = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path / "saved"))
    [function] = [
        each for each in message.graph_def.library.function if any(node.op == "MatMul" for node in each.node_def)
    ]
    operators = Counter(node.op for node in function.node_def if node.op not in ("Const", "Identity", "NoOp"))
    assert operators == {"Reshape": 4, "MatMul": 2, "BiasAdd": 2, "ReadVariableOp": 4, "Relu": 1}
    x = np.random.default_rng(0).normal(size=(4, 7, DEPTH)).astype(np.float32)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_array_equal(loaded.serving_default({"x": tf.constant(x)})["y"], model(x))


def test_no_other_thread_sees_an_export(tmp_path: Path) -> None:
    model, tensordot, seen = small_model(), tf.tensordot, []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(tf.tensordot is tensordot)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        inputs = (TensorSpec("x", "float32", (None, 7, DEPTH)),)
        traced = trace(Endpoint("serving_default", lambda tensors: {"y": model(tensors["x"])}, inputs))
        write_saved_model(tmp_path / "saved", [traced])
    finally:
        done.set()
        thread.join()
    assert all(seen)


def test_no_function_of_an_export_asks_for_shapes(exported_classifier: Any) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        message = tf.compat.v1.saved_model.load(session, ["serve"], str(exported_classifier.path))
    predicting = [each for each in message.graph_def.library.function if "predict" in each.signature.name]
    assert predicting
    for function in predicting:
        assert "Shape" not in [node.op for node in function.node_def], function.signature.name
