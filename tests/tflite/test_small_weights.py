"""Small weights stay float where activations do, for a few per cent of the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from attnexport.tflite import RECIPES
from attnexport.tflite.float_core import place
from attnexport.tflite.graph import Graph, Operator, Subgraph, Tensor, read_graph


def dense(*sizes: tuple[int, int]) -> Graph:
    """Dense layers one after the other, with matrices of these sizes."""
    tensors = [Tensor("input", "float32", (1, 4), 0, 0, False)]
    operators = []
    for number, (units, features) in enumerate(sizes):
        tensors.append(Tensor(f"w{number}", "float32", (units, features), 4 * units * features, number + 1, False))
        tensors.append(Tensor(f"dense_{number}", "float32", (1, units), 0, 0, False))
        operators.append(Operator("FULLY_CONNECTED", (2 * number, 2 * number + 1), (2 * number + 2,)))
    return Graph((Subgraph(tuple(tensors), tuple(operators), (0,), (2 * len(sizes),)),), {"serving_default": 0}, None)


@pytest.mark.parametrize("recipe", ["dynamic", "int4"])
def test_the_smallest_stay_float_as_long_as_the_file_hardly_grows(recipe: str) -> None:
    graph = dense((200, 200), (10, 200), (4, 20), (200, 200))
    assert place(graph, RECIPES[recipe]).kept_float == ("dense_2",)  # 2000 elements in float32 would be too many


def test_neither_large_ones_nor_all_do() -> None:
    assert place(dense((4, 4), (4, 4)), RECIPES["dynamic"]).kept_float == ()
    assert place(dense((32, 32), (1000, 1000)), RECIPES["dynamic"]).kept_float == (), "1024 elements are not small"
    assert place(dense((31, 32), (1000, 1000)), RECIPES["dynamic"]).kept_float == ("dense_0",)


def test_many_small_ones_do_together() -> None:
    """In a small transformer a fifth of the weights has rows so short that int8 saves a tenth of their bytes."""
    kept = place(dense((100, 100), *[(20, 5)] * 8), RECIPES["dynamic"]).kept_float
    assert kept == tuple(f"dense_{number}" for number in range(1, 9))


@pytest.mark.parametrize("recipe", ["float16", "float32"])
def test_other_types_are_not_concerned(recipe: str) -> None:
    assert place(dense((4, 4), (1000, 1000)), RECIPES[recipe]).kept_float == ()


def test_the_file_has_them_so(to_tflite: Callable[..., Any]) -> None:
    inputs = keras.Input((100,), name="x")
    hidden = keras.layers.Dense(100, activation="relu")(keras.layers.Dense(100, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    x = np.random.default_rng(0).normal(size=(60, 100)).astype(np.float32)
    [found] = to_tflite(model, "dynamic", x).values()
    types = {
        each.shape: each.dtype
        for subgraph, operator in read_graph(found.content).operators
        for each in subgraph.weights(operator)
    }
    assert types == {(100, 100): "int8", (2, 100): "float32"}
    assert len(found.content) < 0.45 * found.float_size_bytes


def test_short_rows_are_smaller_in_float() -> None:
    """Four bytes of scale and eight of zero point for two weights that would save three bytes each."""
    graph = dense((32, 2), (32, 2), (32, 32), (32, 30), (40, 40))
    assert place(graph, RECIPES["dynamic"]).kept_float == ("dense_0", "dense_1")
    assert place(dense((32, 2), (4, 20)), RECIPES["dynamic"]).kept_float == (), "most of the weights are quantized"
