"""Tensors inside an artifact: found by their values, measured, and the loss put where it happens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnexport.parity.layers import attention_maps, compare_layers, in_place_of, losses, match


def drawn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def test_tensors_are_found_by_value_whatever_their_name_shape_and_scale() -> None:
    query, scores = drawn(4, 6, 8), drawn(4, 6, 6)
    original = {"a/w_q:dense": query, "a:scores": scores, "gone:dense": drawn(4, 6, 8, seed=9)}
    candidate = {
        "other": drawn(4, 6, 8, seed=1),
        "x": query.reshape(24, 8) / 8 + np.float32(1e-7),
        "x again": query / 8,
        "StatefulPartitionedCall:0": scores,
    }
    found = match(original, candidate)
    assert found.keys() == {"a/w_q:dense", "a:scores"}
    assert found["a/w_q:dense"].tensor == "x"
    assert found["a/w_q:dense"].scale == pytest.approx(8, rel=1e-4)
    assert found["a:scores"].tensor == "StatefulPartitionedCall:0"


@pytest.mark.parametrize(
    "values",
    [np.zeros((4, 3), "f"), np.full((4, 3), np.nan, "f"), -drawn(4, 3), drawn(4, 3) + 0.01 * drawn(4, 3, seed=1)],
)
def test_what_is_no_multiple_is_not_found(values: Any) -> None:
    assert match({"a:dense": drawn(4, 3)}, {"x": values}) == {}
    assert match({"a:dense": values}, {"x": drawn(4, 3)}) == {}


def test_a_tensor_that_is_merely_alike_does_not_win_by_coming_first() -> None:
    values = drawn(50, 40)
    alike = values + 5e-4 * drawn(50, 40, seed=1)
    assert match({"a:dense": values}, {"alike": alike, "same": values})["a:dense"].tensor == "same"
    assert match({"a:dense": values}, {"alike": alike})["a:dense"].tensor == "alike"


def test_the_scale_is_that_of_float32_so_that_a_wrong_gain_is_a_loss() -> None:
    original = {"a:dense": drawn(4, 30)}
    matches = match(original, {"x": original["a:dense"] / 2})
    placed = in_place_of(original, {"x": original["a:dense"].reshape(-1) / 2 * np.float32(0.9)}, matches)
    [check] = compare_layers("m.tflite", original, placed, matches)
    assert (check.artifact, check.layer, check.role, check.tensor, check.shape) == (
        "m.tflite",
        "a",
        "dense",
        "x",
        (4, 30),
    )
    assert check.sqnr_db == pytest.approx(20, abs=0.01)
    assert check.max_error == pytest.approx(0.1 * np.abs(original["a:dense"]).max(), rel=1e-3)
    assert in_place_of(original, {"y": original["a:dense"]}, matches) == {}


def test_a_loss_is_against_the_worst_that_a_tensor_is_computed_from() -> None:
    """x -> q, v exact then noisy; softmax of q; context of both, through a reshape that no layer knows."""
    clean = {name: drawn(4, 2000, seed=seed) for seed, name in enumerate(["in", "q", "v", "softmax", "context", "out"])}
    noise = {"in": 0.0, "q": 1e-2, "v": 1e-3, "softmax": 1e-3, "context": 1e-2, "out": 1e-1}
    original = {f"{name}:dense": values for name, values in clean.items()} | {"copy:Flatten": clean["out"]}
    matches = match(original, clean)
    noisy = {name: each * np.float32(1 + noise[name]) for name, each in clean.items()}
    checks = compare_layers("m", original, in_place_of(original, noisy, matches), matches)
    sources = {
        "q": ("in",),
        "v": ("in",),
        "softmax": ("q",),
        "r": ("v",),
        "context": ("softmax", "r"),
        "out": ("context",),
    }
    found = dict(zip([check.layer for check in checks], losses(checks, sources), strict=True))
    assert found["in"] == 0
    assert found["q"] == found["v"] == np.inf
    assert found["softmax"] == pytest.approx(-20, abs=0.1)
    assert found["context"] == pytest.approx(20, abs=0.1)
    assert found["out"] == pytest.approx(20, abs=0.1)
    assert found["copy"] == 0


def test_attention_is_drawn_of_one_sample_in_every_head() -> None:
    tensors = {
        "one:softmax": drawn(3, 5, 6),
        "many:softmax": drawn(3, 2, 5, 6),
        "keras/softmax:Softmax": drawn(3, 2, 5, 5),
        "probabilities:Softmax": drawn(3, 5, 10),
        "one:scores": drawn(3, 5, 6),
    }
    maps = attention_maps("Keras", tensors, sample=1)
    assert [(each.layer, each.source, each.weights.shape) for each in maps] == [
        ("one", "Keras", (1, 5, 6)),
        ("many", "Keras", (2, 5, 6)),
        ("keras/softmax", "Keras", (2, 5, 5)),
    ]
    assert np.array_equal(maps[1].weights, tensors["many:softmax"][1])
