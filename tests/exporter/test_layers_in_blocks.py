"""Attention in blocks of queries computes what attention at once does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import attnexport as ax
from attnexport.core.errors import ArgumentError
from attnexport.exporter.layers import (
    AttentionConcatLayer,
    MultiHeadAttentionConcat,
    observe_attention,
    record_attention_weights,
)
from attnexport.exporter.layers.blocks import block_rows

Array = np.ndarray[Any, Any]
LAYERS: dict[str, Callable[..., Any]] = {
    "single": AttentionConcatLayer,
    "projected": lambda **options: AttentionConcatLayer(5, use_projection=True, **options),
    "multi-head": lambda **options: MultiHeadAttentionConcat(3, 12, **options),
}


def data(steps: int = 10, batch: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((batch, steps, 12)).astype(np.float32)


def pair(name: str, block: Any = 4, **options: Any) -> tuple[Any, Any]:
    """A layer without blocks and one with, of the same weights."""
    whole, blocked = (LAYERS[name](attention_block=each, **options) for each in (None, block))
    for layer in (whole, blocked):
        layer.build((None, 10, 12))
    blocked.set_weights(whole.get_weights())
    return whole, blocked


def graphed(layer: Any, *shapes: tuple[int | None, ...], **options: Any) -> Any:
    return tf.function(
        lambda *inputs: layer(*inputs, **options), input_signature=[tf.TensorSpec(shape) for shape in shapes]
    )


def operators(function: Any) -> set[str]:
    return {each.type for each in function.get_concrete_function().graph.get_operations()}


def test_blocks_are_for_long_sequences_and_of_nearly_the_same_size() -> None:
    assert block_rows(None, 10**6, 10**6, 8) is None
    sizes = {steps: block_rows("auto", steps, steps, 8) for steps in (1024, 1448, 1449, 4096, 8192, 10**6)}
    assert sizes == {1024: None, 1448: None, 1449: 725, 4096: 512, 8192: 256, 10**6: 128}
    assert [block_rows("auto", steps, steps, 1) for steps in (4096, 4097)] == [None, 2049]
    assert block_rows("auto", None, 4096, 8) is block_rows("auto", 4096, None, 8) is None
    assert [block_rows(4, steps, 7, 1) for steps in (None, 3, 4, 5, 8, 9)] == [4, None, None, 3, 4, 3]


@pytest.mark.parametrize("value", [0, -3, 2.5, True, "large"])
def test_other_sizes_of_blocks_are_refused(value: Any) -> None:
    with pytest.raises(ArgumentError, match="attention_block must be a"):
        AttentionConcatLayer(attention_block=value)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("causal", [False, True])
def test_the_numbers_are_those_of_all_at_once(name: str, causal: bool) -> None:
    """Of a length that the block does not divide, with a sequence and rows that are masked as a whole."""
    whole, blocked = pair(name, use_causal_mask=causal)
    rng = np.random.default_rng(1)
    padding = np.arange(10) < np.array([[7], [10], [0]])
    pairs = rng.random((3, 10, 10)) < 0.6
    pairs[0, 3] = False
    several: list[dict[str, Any]] = [{}, {"mask": padding}, {"attention_mask": pairs}]
    several += [{"mask": padding, "attention_mask": pairs}]
    several += [{"attention_mask": rng.random(shape) < 0.6} for shape in ((1, 10, 10), (3, 1, 10))]
    for given in several:
        np.testing.assert_allclose(blocked(data(), **given), whole(data(), **given), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_cross_attention_and_masks_of_keys(name: str) -> None:
    whole, blocked = pair(name)
    value, key = data(7, seed=1), data(7, seed=2)
    masks = {"value_mask": np.arange(7) < 5, "key_mask": np.arange(7) != 2}
    given = {name: np.broadcast_to(each, (3, 7)) for name, each in masks.items()}
    np.testing.assert_allclose(
        blocked(data(), value, key, **given), whole(data(), value, key, **given), rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("name", LAYERS)
def test_free_sizes_of_graphs(name: str) -> None:
    whole, blocked = pair(name, use_causal_mask=True)
    for shape in ((None, 10, 12), (3, None, 12), (None, None, 12)):
        function = graphed(blocked, shape)
        assert {"While", "StatelessWhile"} & operators(function)
        assert function.get_concrete_function().output_shapes.as_list() == [
            *shape[:2],
            24 if name != "projected" else 17,
        ]
        for steps in (10,) if shape[1] else (10, 3, 8):
            np.testing.assert_allclose(function(data(steps)), whole(data(steps)), rtol=0, atol=2e-6)


@pytest.mark.slow
def test_a_model_predicts_and_trains() -> None:
    """Keras compiles predict with XLA, which takes seconds; training attends at once."""
    whole, blocked = pair("multi-head", dropout=0.2)
    models = [keras.Sequential([keras.Input((None, 12)), each, keras.layers.Dense(2)]) for each in (whole, blocked)]
    models[1].set_weights(models[0].get_weights())
    x = data(batch=8)
    np.testing.assert_allclose(*(each.predict(x, verbose=0) for each in models), rtol=0, atol=2e-6)
    models[1].compile("adam", "mse", run_eagerly=True)
    losses = models[1].fit(x, x[..., :2], epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_all_at_once(training: bool) -> None:
    """In training there is no loop; where someone differentiates inference, its gradients are right."""
    mask = np.arange(10) < np.array([[7], [10], [4]])
    found = []
    for layer in pair("multi-head", use_causal_mask=True):
        x = tf.constant(data())
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, mask=mask, training=training) ** 3)
        found.append(tape.gradient(loss, [x, *(each.value for each in layer.trainable_variables)]))
    for expected, actual in zip(*found, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    blocked = pair("multi-head")[1]
    has_loop = bool({"While", "StatelessWhile"} & operators(graphed(blocked, (1, 10, 12), training=training)))
    assert has_loop is not training


def test_whoever_asks_for_weights_gets_all_of_them() -> None:
    whole, blocked = pair("multi-head")
    _, weights = blocked(data(), return_attention_scores=True)
    np.testing.assert_array_equal(weights, whole(data(), return_attention_scores=True)[1])
    with record_attention_weights() as recorded:
        blocked(data())
    assert [tuple(each.shape) for _, each in recorded] == [(3, 3, 10, 10)]
    with record_attention_weights(in_blocks=True) as recorded:
        blocked(data())
    assert [tuple(each.shape) for _, each in recorded] == [(3, 10, 12)]  # the context
    roles: list[str] = []
    with observe_attention(lambda role, tensor: roles.append(role)):
        blocked(data())
    assert roles == ["scores", "softmax", "context"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_that_of_all_at_once(policy: str) -> None:
    whole, blocked = pair("multi-head", dtype=policy)
    mask = np.arange(10) < np.array([[7], [10], [0]])
    np.testing.assert_allclose(
        tf.cast(blocked(data(), mask=mask), "float32"), tf.cast(whole(data(), mask=mask), "float32"), rtol=0, atol=1e-2
    )


def test_old_files_load_and_new_ones_keep_the_block(tmp_path: Path) -> None:
    """A layer saved before there were blocks has "auto", which is as before for all but long sequences."""
    model = keras.Sequential([keras.Input((10, 12)), MultiHeadAttentionConcat(3, 12, attention_block=4)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].attention_block == 4
    np.testing.assert_array_equal(loaded(data()), model(data()))
    before = MultiHeadAttentionConcat(3, 12)
    assert "attention_block" not in before.get_config()
    assert MultiHeadAttentionConcat.from_config(before.get_config()).attention_block == "auto"


def test_a_model_in_bfloat16_is_exported_and_served(tmp_path: Path) -> None:
    attention = MultiHeadAttentionConcat(3, 12, attention_block=4, dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((10, 12), name="sequence"), attention, keras.layers.Dense(5, name="scores")])
    exported = ax.export_saved_model(model, output=tmp_path, name="blocks")
    assert exported.verdict
    assert exported.saved_model.precision == "bfloat16"
    with ax.serve(exported.directory) as server, ax.Client(server.grpc_address or "", model="blocks") as client:
        served = client.predict({"sequence": data()})["scores"]
    # Eight bits of a number up to 3; a processor that computes in bfloat16 itself rounds elsewhere.
    np.testing.assert_allclose(served, model(data()), rtol=0, atol=4e-2)
