"""Inspection, and the traps of field-notes.md that can be seen in a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.exporter import MultiHeadAttentionConcat
from attnexport.tflite import delegation, inspect_tflite
from attnexport.tflite.graph import read_graph


def test_a_file_is_told_by_what_is_in_it(conversions: dict[str, Any]) -> None:
    found = inspect_tflite(conversions["float16"].content)
    assert found.size_bytes == len(conversions["float16"].content)
    # All weights once; the query's, into which its scale is folded, may be there for each signature.
    weights = 4 * 16 * 16 + 32 * 32 + 32 * 10
    assert 2 * weights <= found.constant_bytes["float16"] <= 2 * (weights + 16 * 16 + 200)
    assert found.min_runtime_version is not None
    assert {each.signature.name for each in found.signatures} == {"serving_default", "attention"}
    assert found.advice == ()


@pytest.mark.parametrize(
    ("recipe", "partitions", "left"),
    [
        ("float32", 1, {}),
        ("float16", 1, {}),
        ("dynamic", 1, {}),
        ("int8", 1, {}),
        ("int8-integer-only", 2, {"BATCH_MATMUL": 2, "SOFTMAX": 1}),
    ],
)
def test_the_attention_core_in_float_keeps_one_delegate_partition(
    recipe: str, partitions: int, left: dict[str, int], conversions: dict[str, Any]
) -> None:
    """Everyone's full int8 leaves BATCH_MATMUL of two int8 activations to slow kernels."""
    content = conversions[recipe].content
    for signature, missing in (("serving_default", left), ("attention", None)):
        found = delegation(content, signature)
        assert found is not None
        if missing is not None:
            assert (found.partitions, found.left) == (partitions, missing)
        graph = read_graph(content)
        operators = graph.subgraphs[graph.signatures[signature]].operators
        assert found.taken + sum(found.left.values()) == len(operators)
    advice = inspect_tflite(content).advice
    assert bool(advice) == bool(left)
    if left:
        assert "BATCH_MATMUL of two quantized activations" in advice[0]


@pytest.mark.parametrize(("recipe", "whole"), [("float32", True), ("int8", True), ("int8-integer-only", False)])
def test_the_public_api_agrees_on_what_is_delegated(
    recipe: str, whole: bool, to_tflite: Callable[..., Any], multi_head: Any, samples: Any, tmp_path: Any
) -> None:
    from ai_edge_litert.compiled_model import CompiledModel

    from attnexport.tflite import RECIPES

    integer = RECIPES["int8"].altered(integer_only=True)
    chosen = integer if recipe == "int8-integer-only" else recipe
    path = tmp_path / "model.tflite"
    path.write_bytes(to_tflite(multi_head, chosen, samples)[recipe].content)
    assert CompiledModel.from_file(str(path)).is_fully_accelerated() is whole


def test_large_constants_lie_outside_the_flatbuffer(to_tflite: Callable[..., Any]) -> None:
    """From 256 KiB on `data` is None, and a reader that trusts it sees no weights."""
    model = keras.Sequential([keras.Input((4, 300), name="x"), keras.layers.Dense(300), keras.layers.Dense(2)])
    data = np.random.default_rng(0).standard_normal((40, 4, 300)).astype(np.float32)
    found = inspect_tflite(to_tflite(model, "float32", data)["float32"].content)
    assert found.constant_bytes["float32"] >= 300 * 300 * 4


def test_activation_memory_is_the_most_that_is_alive_at_once() -> None:
    from attnexport.tflite.graph import Operator, Subgraph, Tensor
    from attnexport.tflite.inspection import _activation_bytes

    tensors = [
        Tensor(name, "float32", (size,), 0, 0, False) for name, size in (("in", 10), ("a", 100), ("b", 5), ("c", 1))
    ]
    chain = tuple(Operator("RELU", (index,), (index + 1,)) for index in range(3))
    assert _activation_bytes(Subgraph(tuple(tensors), chain, (0,), (3,))) == 4 * (10 + 100)
    joined = (*chain[:2], Operator("ADD", (0, 2), (3,)))  # the input lives on
    assert _activation_bytes(Subgraph(tuple(tensors), joined, (0,), (3,))) == 4 * (10 + 100 + 5)


def test_a_free_batch_breaks_the_partition_and_is_told(tmp_path: Any) -> None:
    inputs = keras.Input((None, 8), name="x")
    model = keras.Model(inputs, MultiHeadAttentionConcat(2, 8, 4)(inputs))
    archive = keras.export.ExportArchive()
    spec = tf.TensorSpec((None, None, 8), tf.float32, name="x")
    archive.add_endpoint("serving_default", lambda x: model(x, training=False), [spec])
    archive.write_out(str(tmp_path), verbose=False)
    found = inspect_tflite(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path)).convert())
    assert found.signatures[0].delegation is not None
    assert found.signatures[0].delegation.partitions > 1
    assert "free dimensions break the delegate's partitions" in found.advice[0]


def test_trap_unnamed_calibration_samples_leave_parts_float(multi_head: Any, tmp_path: Any, samples: Any) -> None:
    """TFLiteConverter, several signatures: without names one signature is calibrated, with no error."""
    archive = keras.export.ExportArchive()
    spec = tf.TensorSpec((1, 12, 16), tf.float32, name="sequence")
    for name in ("serving_default", "other"):
        archive.add_endpoint(name, lambda sequence: multi_head(sequence, training=False), [spec])
    archive.write_out(str(tmp_path), verbose=False)

    def converted(named: bool) -> set[str]:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path), signature_keys=["serving_default", "other"])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        every = [[sample[None]] for sample in samples[:4]]
        if named:
            every = [(name, {"sequence": one}) for name in ("serving_default", "other") for (one,) in every]
        converter.representative_dataset = lambda: iter(every)
        graph = read_graph(bytes(converter.convert()))
        return {
            subgraph.tensors[operator.outputs[0]].dtype
            for subgraph, operator in graph.operators
            if operator.name == "FULLY_CONNECTED"
        }

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own interpreter
        assert converted(named=True) == {"int8"}
        assert "float32" in converted(named=False)


def test_trap_no_samples_give_the_float_model(exported_classifier: Any) -> None:
    """TFLiteConverter with an empty dataset: no error, and no activation is quantized."""
    saved_model = str(exported_classifier.path)
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: iter([])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = read_graph(bytes(converter.convert()))
    tensors = [tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors]
    assert not any(tensor.quantized and not tensor.constant_bytes for tensor in tensors)
