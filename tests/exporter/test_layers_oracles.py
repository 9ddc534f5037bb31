"""The layers against independent oracles: numpy in float64, the formulas in TensorFlow, Keras's own layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.exporter.layers import (
    AttentionConcatLayer,
    MultiHeadAttentionConcat,
    scaled_dot_product_attention,
)

Array = np.ndarray[Any, Any]


def softmax64(scores: Array) -> Array:
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def attention64(query: Array, key: Array, value: Array, d_k: int, mask: Array | None = None) -> Array:
    """softmax(QKᵀ/√d_k)V in float64; masked scores are left out of the sum altogether."""
    scores = query.astype(np.float64) @ np.swapaxes(key.astype(np.float64), -1, -2) / np.sqrt(d_k)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return softmax64(scores) @ value.astype(np.float64)


def relative_error(actual: Any, expected: Array) -> float:
    return float(np.abs(np.asarray(actual, dtype=np.float64) - expected).max() / np.abs(expected).max())


def project64(x: Array, dense: Any) -> Array:
    kernel, bias = (each.astype(np.float64) for each in dense.get_weights())
    return x.astype(np.float64) @ kernel + bias


def multi_head64(layer: Any, query: Array, value: Array, mask: Array | None = None) -> Array:
    """The whole multi-head layer in float64, with the layer's own weights."""

    def split(x: Array) -> Array:
        return x.reshape(*x.shape[:2], layer.num_heads, -1).transpose(0, 2, 1, 3)

    q, k, v = split(project64(query, layer.w_q)), split(project64(value, layer.w_k)), split(project64(value, layer.w_v))
    context = attention64(q, k, v, layer.d_k, mask).transpose(0, 2, 1, 3).reshape(*query.shape[:2], -1)
    return np.concatenate([query, project64(context, layer.w_o)], axis=-1)


def randomize(layer: Any, seed: int = 0) -> None:
    """Weights with biases that are not zero."""
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(0, 0.2, each.shape).astype(np.float32) for each in layer.get_weights()])


@pytest.fixture
def x() -> Array:
    return np.random.default_rng(7).standard_normal((4, 10, 64)).astype(np.float32)


@pytest.mark.parametrize("d_k", [None, 64, 16])
def test_single_head_is_the_formula_in_float64(x: Array, d_k: int | None) -> None:
    expected = np.concatenate([x, attention64(x, x, x, d_k or 64)], axis=-1)
    assert relative_error(AttentionConcatLayer(d_k)(x), expected) <= 1e-6


def test_multi_head_is_the_formula_in_float64(x: Array) -> None:
    layer = MultiHeadAttentionConcat(8, 64, 8)
    layer.build(x.shape)
    randomize(layer)
    assert relative_error(layer(x), multi_head64(layer, x, x)) <= 1e-6


def test_causal_and_padding_masks_are_those_of_the_formula(x: Array) -> None:
    layer = MultiHeadAttentionConcat(8, 64, 8, use_causal_mask=True)
    layer.build(x.shape)
    randomize(layer)
    padding = np.ones((4, 10), bool)
    padding[:, 7:] = False
    mask = np.tril(np.ones((10, 10), bool))[None, None] & padding[:, None, None, :]
    assert relative_error(layer(x, mask=padding), multi_head64(layer, x, x, mask)) <= 1e-6


def test_separate_query_value_and_key_follow_keras_order(x: Array) -> None:
    query, value, key = x[:, :4], x[:, :7] * 2, x[:, 3:]
    expected = np.concatenate([query, attention64(query, key, value, 64)], axis=-1)
    assert relative_error(AttentionConcatLayer(64)(query, value, key), expected) <= 1e-6
    # Without a key the value is the key, as in keras.layers.MultiHeadAttention.
    expected = np.concatenate([query, attention64(query, value, value, 64)], axis=-1)
    assert relative_error(AttentionConcatLayer(64)(query, value), expected) <= 1e-6


def test_projections_are_learned_and_applied(x: Array) -> None:
    layer = AttentionConcatLayer(16, use_projection=True)
    layer.build(x.shape)
    randomize(layer)
    q, k, v = (project64(x, dense) for dense in (layer.w_q, layer.w_k, layer.w_v))
    assert relative_error(layer(x), np.concatenate([x, attention64(q, k, v, 16)], axis=-1)) <= 1e-6


def test_same_numbers_as_the_formula_written_in_tensorflow(x: Array) -> None:
    """The way that every tutorial writes it, scaling the scores after the product."""
    scores = tf.matmul(x, x, transpose_b=True) / tf.sqrt(tf.cast(64, tf.float32))
    expected = tf.concat([x, tf.matmul(tf.nn.softmax(scores), x)], axis=-1).numpy()
    assert relative_error(AttentionConcatLayer(64)(x), expected.astype(np.float64)) <= 1e-6


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_same_as_keras_multi_head_attention_with_the_same_weights(
    x: Array, causal: bool, padded: bool, cross: bool
) -> None:
    ours, theirs = MultiHeadAttentionConcat(4, 64, 16), keras.layers.MultiHeadAttention(4, 16)
    value = x[:, ::-1].copy() if cross else x
    ours(x, value)
    theirs(x, value)
    randomize(ours)
    theirs.query_dense.set_weights(_by_head(ours.w_q))
    theirs.key_dense.set_weights(_by_head(ours.w_k))
    theirs.value_dense.set_weights(_by_head(ours.w_v))
    kernel, bias = ours.w_o.get_weights()
    theirs.output_dense.set_weights([kernel.reshape(4, 16, 64), bias])
    mask = np.ones((4, 10), bool)
    if padded:
        mask[:, 6:] = False
    context, scores = theirs(x, value, value_mask=mask, use_causal_mask=causal, return_attention_scores=True)
    output, weights = ours(x, value, value_mask=mask, use_causal_mask=causal, return_attention_scores=True)
    # Each side may be 1e-6 of the scale away from what is right.
    assert relative_error(output[..., 64:], np.asarray(context, np.float64)) <= 2e-6
    np.testing.assert_allclose(weights, scores, rtol=0, atol=1e-6)


def _by_head(dense: Any) -> list[Array]:
    kernel, bias = dense.get_weights()
    return [kernel.reshape(64, 4, 16), bias.reshape(4, 16)]


def test_query_is_scaled_before_the_product() -> None:
    """Scaling the scores afterwards costs 20 dB under int8: the graph has no operator after the product."""

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 8))])
    def attend(x: Any) -> Any:
        return scaled_dot_product_attention(x, x, x, d_k=8)[0]

    graph = attend.get_concrete_function().graph
    softmax = next(op for op in graph.get_operations() if op.type == "Softmax")
    product = softmax.inputs[0].op
    assert product.type.startswith("BatchMatMul")
    assert "Mul" in {each.op.type for each in product.inputs}


def test_float16_does_not_overflow() -> None:
    """A product of 1.6e5 is beyond float16, whose largest number is 65504."""
    x = np.full((1, 3, 64), 50.0, np.float16)
    x[0, 0] = -50
    output = AttentionConcatLayer(64, dtype="float16")(x, mask=np.array([[True, True, False]]))
    assert output.dtype == tf.float16
    expected = attention64(x, x, x, 64, np.array([True, True, False]))
    np.testing.assert_allclose(np.asarray(output, np.float64)[..., 64:], expected, rtol=1e-3)


@pytest.mark.parametrize(("dtype", "error"), [("float16", 6e-4), ("bfloat16", 4e-3)])
def test_16_bit_scores_are_as_good_as_float32_ones(dtype: str, error: float) -> None:
    """The weights are off by no more than rounding the inputs and them costs: half an ulp each way."""
    x = (2 * np.random.default_rng(1).standard_normal((2, 8, 64))).astype(np.float32)
    rounded = np.asarray(tf.cast(tf.cast(x, dtype), tf.float64))
    _, weights = AttentionConcatLayer(64, dtype=dtype)(tf.cast(x, dtype), return_attention_scores=True)
    exact = softmax64(rounded @ np.swapaxes(rounded, -1, -2) / 8)
    assert np.abs(np.asarray(tf.cast(weights, tf.float64)) - exact).max() <= error
