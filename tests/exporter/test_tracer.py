"""What a Keras model computes on its way: every layer, and the inside of attention."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from attnexport.core import ModelError
from attnexport.exporter import AttentionConcatLayer, build_model
from attnexport.exporter.model_inputs import model_inputs
from attnexport.exporter.tracer import KerasTracer

X = np.random.default_rng(0).standard_normal((3, 6, 8)).astype(np.float32)


def traced(model: Any, x: Any = X) -> dict[str, Any]:
    inputs = model_inputs(model)
    return KerasTracer(inputs).trace({inputs.specs[0].name: x})


def test_the_inside_of_attention_is_what_the_formula_says() -> None:
    model = build_model("multihead-classifier", steps=6, features=8, num_heads=2, d_model=4, units=5, classes=3)
    found = traced(model)
    assert list(found) == [
        *(f"attention/w_{each}:dense" for each in "qkv"),
        *(f"attention:{each}" for each in ("scores", "softmax", "context")),
        "attention/w_o:dense",
        "attention:concatenation",
        "hidden:dense",
        "logits:dense",
    ]
    q, k, v = (found[f"attention/w_{each}:dense"].reshape(3, 6, 2, 2).transpose(0, 2, 1, 3) for each in "qkv")
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(2)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    for role, wanted in (("scores", scores), ("softmax", weights), ("context", weights @ v)):
        np.testing.assert_allclose(found[f"attention:{role}"], wanted, atol=1e-5)
    np.testing.assert_array_equal(found["attention:concatenation"][..., :8], X)
    np.testing.assert_array_equal(found["attention:concatenation"][..., 8:], found["attention/w_o:dense"])
    np.testing.assert_allclose(found["logits:dense"], model(X), atol=1e-6)


@keras.saving.register_keras_serializable(package="tests")
class Gated(keras.layers.Layer):  # type: ignore[misc]
    """A user's own layer with one of Keras's inside."""

    def build(self, shape: Any) -> None:
        self.gate = keras.layers.Dense(shape[-1], activation="sigmoid", name="gate")
        self.gate.build(shape)

    def call(self, x: Any) -> Any:
        return x * self.gate(x)


def test_nested_shared_and_own_layers_and_operations() -> None:
    inner_input = keras.Input((6, 8), name="inner_input")
    inner = keras.Model(inner_input, AttentionConcatLayer(name="own")(inner_input), name="block")
    x = keras.Input((6, 8), name="x")
    shared = Gated(name="gated")
    y = shared(shared(x) + x)
    y = keras.layers.MultiHeadAttention(2, 4, dropout=0.1, name="theirs")(y, y)
    model = keras.Model(x, inner(y))
    found = traced(model)
    assert found["gated:Gated"].shape == found["gated (2):Gated"].shape == (3, 6, 8)
    np.testing.assert_allclose(found["gated:Gated"], X * found["gated/gate:dense"], atol=1e-6)
    [added] = [name for name in found if name.endswith(":Add")]
    np.testing.assert_allclose(found[added], found["gated:Gated"] + X, atol=1e-6)
    np.testing.assert_allclose(found["gated (2):Gated"], found[added] * found["gated (2)/gate:dense"], atol=1e-6)
    assert found["block/own:softmax"].shape == (3, 6, 6)
    [weights] = [name for name in found if name.startswith("theirs/softmax")]  # Keras numbers the layers of a process
    assert found[weights].shape == (3, 2, 6, 6)
    np.testing.assert_allclose(found["block/own:concatenation"], model(X), atol=1e-6)


def test_a_fixed_batch_is_fed_in_pieces_and_integers_are_left_out() -> None:
    tokens = keras.Input((6,), batch_size=2, dtype="int32", name="x")
    y = keras.layers.Embedding(5, 4, name="embedding")(tokens)
    model = keras.Model(tokens, keras.layers.Dense(3, name="out")(y))
    ids = np.arange(18, dtype=np.int32).reshape(3, 6) % 5
    found = traced(model, ids)
    assert {name: each.shape for name, each in found.items()} == {
        "embedding:Embedding": (3, 6, 4),
        "out:dense": (3, 6, 3),
    }
    np.testing.assert_array_equal(
        found["embedding:Embedding"][2], model.get_layer("embedding").embeddings.numpy()[ids[2]]
    )


def test_a_loop_gives_what_it_gives_and_nothing_from_inside() -> None:
    x = keras.Input((6, 8), name="x")
    y = keras.layers.LSTM(4, return_sequences=True, name="lstm")(x)
    y = keras.layers.TimeDistributed(keras.layers.Dense(3, name="inner"), name="each")(y)
    model = keras.Model(x, keras.layers.Dense(2, name="out")(y))
    found = {name: each.shape for name, each in traced(model).items()}
    assert found == {"lstm:LSTM": (3, 6, 4), "each:TimeDistributed": (3, 6, 3), "out:dense": (3, 6, 2)}


def test_the_model_is_left_as_it_was_also_where_it_fails() -> None:
    model = build_model("multihead", steps=6, features=8)
    with pytest.raises(ModelError, match="Keras fails: "):
        traced(model, X[:, :, :5])
    assert not [layer for layer in model._flatten_layers() if "call" in vars(layer)]
    assert traced(model)["attention:softmax"].shape == (3, 8, 6, 6)
