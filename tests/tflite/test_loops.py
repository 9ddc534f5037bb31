"""Attention in blocks of queries in a .tflite: what a loop keeps, and what it saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from attnexport.core import batched
from attnexport.exporter import MultiHeadAttentionConcat
from attnexport.parity import BUDGETS, distance
from attnexport.tflite import RECIPES, CompiledModelRunner, Rejected, TFLiteRunner, inspect_tflite
from attnexport.tflite.gate import weight_shares

STEPS = 66  # which blocks of 16 do not divide


def network(attention: Any) -> keras.Model:
    """Tokens with padding, attended to causally."""
    inputs = keras.Input((STEPS,), dtype="int32", name="tokens")
    x = attention(keras.layers.Embedding(50, 16, mask_zero=True)(inputs))
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling1D()(x)))


@pytest.fixture(scope="module")
def tokens() -> np.ndarray[Any, Any]:
    """Sequences of all lengths."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, STEPS + 1, 80)
    return (rng.integers(1, 50, (80, STEPS)) * (np.arange(STEPS) < lengths[:, None])).astype(np.int32)


@pytest.fixture(scope="module")
def blocked(to_tflite: Callable[..., Any], tokens: Any) -> tuple[keras.Model, dict[str, Any], list[Rejected]]:
    """The model that attends at once, the files of one with the same weights and blocks, and recipes that failed."""
    keras.utils.set_random_seed(1)
    whole = network(MultiHeadAttentionConcat(4, 16, use_causal_mask=True, attention_block=None))
    model = network(MultiHeadAttentionConcat(4, 16, use_causal_mask=True, attention_block=16, name="attention"))
    model.set_weights(whole.get_weights())
    rejected: list[Rejected] = []
    recipes = ["float32", "float16", "dynamic", "int8", RECIPES["int8"].altered(integer_only=True)]
    return whole, to_tflite(model, recipes, tokens, rejected=rejected), rejected


def test_files_compute_what_attention_at_once_computes(blocked: Any, tokens: Any) -> None:
    whole, files, _ = blocked
    expected = whole(tokens)
    for name, conversion in files.items():
        outputs = batched(TFLiteRunner(conversion.content), {"tokens": tokens})
        figure = distance(np.asarray(expected), next(iter(outputs.values()))).sqnr_db
        assert figure >= (BUDGETS[name].min_sqnr_db or 100), name


def test_weights_outside_the_loop_are_quantized_and_its_inside_is_float(blocked: Any) -> None:
    _, files, _ = blocked
    assert list(files) == ["float32", "float16", "dynamic", "int8"]
    graph = files["int8"].graph
    assert weight_shares(graph) == {"int8": 1.0}
    [loop] = [operator for _, operator in graph.operators if operator.name == "WHILE"]
    body = graph.subgraphs[loop.calls[1]]
    assert {"int8"}.isdisjoint(tensor.dtype for tensor in body.tensors)
    note = "int8: 'attention' attends in blocks of queries, a loop in float32; the projections around it are int8"
    assert note in files["int8"].notes


def test_integers_alone_are_refused_by_name(blocked: Any) -> None:
    [rejected] = blocked[2]
    assert str(rejected.error).startswith("recipe 'int8-integer-only': 'attention' attends in blocks")
    assert str(rejected.error).endswith("build the layer with attention_block=None")


def test_inspection_sees_into_the_loop(blocked: Any, to_tflite: Callable[..., Any], tokens: Any) -> None:
    whole, files, _ = blocked
    [signature] = inspect_tflite(files["float32"].content).signatures
    assert signature.delegation is not None
    [(name, inside)] = signature.delegation.inside.items()
    assert name.endswith("attention_1/blocks/while")
    assert (inside.partitions, inside.inside) == (1, {})
    assert inside.taken >= 4
    assert {"BATCH_MATMUL", "SOFTMAX"}.isdisjoint(inside.left)
    [at_once] = inspect_tflite(to_tflite(whole, "float32", tokens)["float32"].content).signatures
    assert at_once.activation_bytes > 2 * 4 * 4 * STEPS * STEPS
    assert signature.activation_bytes < at_once.activation_bytes / 2
    assert not any(
        each.dtype == "float32" and each.constant_bytes >= 4 * STEPS * 16 for each in files["float32"].graph.constants
    )


def test_half_precision_computes_the_loop_too(blocked: Any, tokens: Any, written: Callable[[bytes], Any]) -> None:
    whole, files, _ = blocked
    runner = CompiledModelRunner(written(files["float32"].content), half=True)
    outputs = batched(runner, {"tokens": tokens})
    assert distance(np.asarray(whole(tokens)), next(iter(outputs.values()))).sqnr_db >= 40
