"""Tables of embeddings are as small as the other weights, and compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core import batched
from attnexport.parity import BUDGETS, distance
from attnexport.tflite import TFLiteRunner
from attnexport.tflite.gate import weight_shares

WORDS = 2000


class Tied(keras.layers.Layer):
    """A table that is looked up, and multiplied with for the scores."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(WORDS, 32), name="table")

    def call(self, tokens: Any) -> Any:
        rows = tf.gather(self.table, tokens)
        return tf.matmul(keras.ops.tanh(rows), self.table, transpose_b=True)


def model(kind: str) -> keras.Model:
    inputs = keras.Input((6,), dtype="int64" if kind == "odd" else "int32", name="tokens")
    if kind == "tied":
        return keras.Model(inputs, Tied()(inputs))
    x = keras.layers.Embedding(WORDS, 31 if kind == "odd" else 32)(inputs)
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling1D()(x)))


@pytest.mark.parametrize("kind", ["plain", "outliers", "odd", "tied"])
def test_tables_are_quantized_like_other_weights(kind: str, to_tflite: Callable[..., Any]) -> None:
    network = model(kind)
    if kind == "outliers":  # of which one scale for all rows would leave nothing
        table = network.layers[1].get_weights()[0]
        table[7] *= 300
        network.layers[1].set_weights([table])
    tokens = np.random.default_rng(0).integers(0, WORDS, (80, 6)).astype(network.inputs[0].dtype)
    files = to_tflite(network, ["float32", "float16", "dynamic", "int4"], tokens)
    expected = np.asarray(network(tokens))
    for name, weights in (("float16", "float16"), ("dynamic", "int8"), ("int4", "int4")):
        found = files[name]
        outputs = batched(TFLiteRunner(found.content), {"tokens": tokens})
        assert distance(expected, next(iter(outputs.values()))).sqnr_db >= (BUDGETS[name].min_sqnr_db or 0)
        if (kind, name) != ("odd", "int4"):  # rows of an odd number of half bytes have no kernel
            # The 128 weights of the last layer are few enough to stay float32.
            assert weight_shares(found.graph)[weights] > 0.99
    constants = sum(each.constant_bytes for each in files["float32"].graph.constants)
    assert len(files["float16"].content) < 0.5 * constants + 6000
    # One scale for all rows, but for those that differ and those that the scores share, which have one each.
    per_row = 0 if kind in ("plain", "odd") else 12 * WORDS
    assert len(files["dynamic"].content) < 0.25 * constants + per_row + 6000
