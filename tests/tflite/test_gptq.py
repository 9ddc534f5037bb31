"""Weights that are rounded by what they multiply: against numpy in float64, and in whole files."""

from __future__ import annotations

import errno
import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attnexport.core import StorageError
from attnexport.parity import distance
from attnexport.tflite import RECIPES, LayerRule, Recipe, TFLiteRunner, layer_inputs
from attnexport.tflite.constants import constant, with_constants
from attnexport.tflite.gptq import Integers, _sequential, fit_integers, output_errors
from attnexport.tflite.graph import read_graph
from attnexport.tflite.layer_inputs import LayerInputs, dense_inputs

INT4 = Recipe("int4-gptq", "int4", "dynamic", weight_algorithms=("gptq",))


def layer(seed: int, outputs: int = 8, inputs: int = 24, rows: int = 200) -> tuple[Any, Any]:
    """Weights `[outputs, inputs]` and correlated inputs `[rows, inputs]`."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(inputs) + rng.standard_normal((inputs, inputs)) / np.sqrt(inputs)
    return rng.standard_normal((outputs, inputs)), rng.standard_normal((rows, inputs)) @ mixing


def to_nearest(weights: Any, bits: int) -> Any:
    """Weights as multiples of the scale that holds the greatest of each row."""
    scales = np.abs(weights).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.rint(weights / scales) * scales


@pytest.mark.parametrize("bits", [4, 8])
def test_outputs_change_less_than_by_rounding_to_the_nearest(bits: int) -> None:
    for seed in range(8):
        weights, x = layer(seed)
        moments = x.T @ x / len(x)
        fitted = fit_integers(weights, moments, bits)
        error, nearest = (
            np.square(x @ (weights - each).T).mean(axis=0) for each in (fitted.weights, to_nearest(weights, bits))
        )
        np.testing.assert_allclose(output_errors(weights, fitted.weights, moments), error, rtol=1e-9)
        assert (error <= nearest * 1.01).all(), "no output is worse, but for what damping gives away"
        assert error.sum() < 0.6 * nearest.sum()
        assert np.array_equal(fitted.values, np.rint(fitted.values))
        assert np.abs(fitted.values).max() <= 2 ** (bits - 1) - 1


def test_the_sequential_part_is_the_algorithm_of_the_paper() -> None:
    weights, x = layer(3, outputs=5, inputs=70)
    moments, scales = x.T @ x / len(x), np.abs(weights).max(axis=1) / 7
    order = np.argsort(-np.diag(moments), kind="stable")
    left, inverse = weights[:, order].copy(), np.linalg.inv(moments[np.ix_(order, order)])
    expected = np.empty_like(weights)
    for at in range(len(order)):  # equation 2, and the inverse without the input that is done (equation 3)
        expected[:, order[at]] = np.clip(np.rint(left[:, at] / scales), -7, 7)
        error = (left[:, at] - expected[:, order[at]] * scales) / inverse[at, at]
        left -= np.outer(error, inverse[at])
        inverse -= np.outer(inverse[:, at], inverse[at]) / inverse[at, at]
    np.testing.assert_array_equal(_sequential(weights, scales, moments, 7.0), expected)


def test_tiny_layers_are_as_good_as_the_best_of_all_integers() -> None:
    reached = 0
    for seed in range(100):
        weights, x = layer(seed, outputs=1, inputs=3, rows=20)
        moments = x.T @ x / len(x)
        scale = np.abs(weights).max() / 3
        integers = np.array(list(itertools.product(range(-3, 4), repeat=3)), np.float64)
        best = output_errors(weights, integers * scale, moments).min()
        reached += bool(output_errors(weights, fit_integers(weights, moments, 3).weights, moments)[0] <= best * 1.001)
    assert reached >= 90  # coordinate descent may end in a local optimum


@pytest.mark.parametrize("rows", [1, 5])
def test_few_samples_dead_inputs_and_empty_rows_do_no_harm(rows: int) -> None:
    weights, x = layer(1, rows=rows)
    weights[2], x[:, 3] = 0.0, 0.0
    fitted = fit_integers(weights, x.T @ x / rows, 4)
    assert np.isfinite(fitted.weights).all()
    assert not fitted.values[2].any()
    assert np.abs(fitted.weights - weights).max() < np.abs(weights).max(), "what no sample shows stays near"
    zero = fit_integers(weights, np.zeros((24, 24)), 4)
    assert np.isfinite(zero.weights).all()


def test_the_moments_of_layers_are_those_of_their_inputs() -> None:
    x = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32) + 3
    inputs = LayerInputs.of(4)
    inputs.add(x[:10])
    inputs.add(x[10:])
    inputs.finish()
    wide = x.astype(np.float64)
    np.testing.assert_allclose(inputs.mean, wide.mean(axis=0))
    np.testing.assert_allclose(inputs.covariance, np.cov(wide.T, bias=True), atol=1e-12)


@pytest.mark.parametrize("bits", [4, 8])
def test_inputs_that_vary_far_from_zero_are_fitted(bits: int) -> None:
    """Such as times in seconds: their moments about zero leave nothing of how they vary."""
    generator = np.random.default_rng(0)
    for _ in range(10):
        x = 1.7e9 + 200 * generator.standard_normal((50, 2))
        inputs = LayerInputs.of(2)
        inputs.add(x)
        inputs.finish()
        np.testing.assert_allclose(inputs.covariance, np.cov(x.T, bias=True), rtol=1e-6)
        weights = generator.standard_normal((3, 2))
        for moments in (inputs.covariance, inputs.moments, x.T @ x / 50 - np.outer(x.mean(axis=0), x.mean(axis=0))):
            assert np.isfinite(fit_integers(weights, moments, bits).weights).all()


@pytest.fixture(scope="module")
def fitted(to_tflite: Callable[..., Any], multi_head: Any, samples: Any) -> dict[str, Any]:
    """The multi-head classifier with weights rounded in both ways."""
    nearest = Recipe("int4-minmax", "int4", "dynamic")
    int8 = RECIPES["int8"].altered(calibrator="minmax")
    mixed = Recipe("mixed", "int8", "dynamic", layers=(LayerRule("hidden", "int4", "dynamic", "gptq"),))
    int8_gptq = Recipe("int8-gptq", "int8", "int8", int8.keep_float, calibrator="minmax", weight_algorithms=("gptq",))
    return to_tflite(multi_head, ["float32", INT4, nearest, mixed, int8, int8_gptq], samples)


def test_a_file_is_nearer_to_its_original_and_not_larger(fitted: dict[str, Any], multi_head: Any, samples: Any) -> None:
    x = np.random.default_rng(9).standard_normal((64, *samples.shape[1:])).astype(np.float32)
    expected = multi_head.predict(x, verbose=0)
    sqnr = {}
    for name, each in fitted.items():
        runner = TFLiteRunner(each.content)
        outputs = np.concatenate([runner.run({"sequence": row[None]})["logits"] for row in x])
        sqnr[name] = distance(expected, outputs).sqnr_db
    assert sqnr["int4-gptq"] > sqnr["int4-minmax"] + 1.5
    assert sqnr["int8-gptq"] > sqnr["int8"] - 0.3
    assert len(fitted["int4-gptq"].content) == len(fitted["int4-minmax"].content)
    assert fitted["int4-gptq"].weight_algorithm == "gptq"
    assert len(fitted["mixed"].content) < len(fitted["int8"].content)


def test_the_same_samples_give_the_same_bytes(
    fitted: dict[str, Any], to_tflite: Callable[..., Any], multi_head: Any, samples: Any
) -> None:
    again = to_tflite(multi_head, INT4, samples[::-1])["int4-gptq"]
    assert again.content == fitted["int4-gptq"].content
    assert INT4.needs_samples
    assert not RECIPES["int4"].needs_samples, "without samples it has other ways"


def test_sums_that_do_not_fit_into_memory_together_are_taken_in_several_passes(
    fitted: dict[str, Any], samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = fitted["float32"].content
    graph = read_graph(content)
    collect = functools.partial(layer_inputs.collect_layer_inputs, content, graph)
    inputs = {"serving_default": {"sequence": samples[:8]}}
    at_once = collect(inputs)
    assert len({id(each) for each in at_once.values()}) > 2
    assert not any(isinstance(each.products, np.memmap) for each in at_once.values())
    widest = max(each.products.nbytes for each in at_once.values())
    monkeypatch.setattr(layer_inputs, "_MAX_BYTES", widest)
    in_passes = collect(inputs)
    assert list(in_passes) == list(at_once)
    for buffer, each in in_passes.items():
        assert isinstance(each.products, np.memmap)
        np.testing.assert_array_equal(each.moments, at_once[buffer].moments)

    def full() -> None:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(StorageError, match="no space left on device"):
        collect(inputs)


def test_constants_are_replaced_where_they_are(fitted: dict[str, Any]) -> None:
    content = fitted["float32"].content
    graph = read_graph(content)
    buffer = next(iter(dense_inputs(graph)))
    values = constant(content, graph, buffer)
    changed = with_constants(content, graph, {buffer: values + 1})
    np.testing.assert_array_equal(constant(changed, graph, buffer), values + 1)
    assert len(changed) == len(content)
    assert read_graph(changed) == graph
    assert with_constants(content, graph, {}) is content


def test_integers_stand_for_multiples_of_their_scale() -> None:
    assert Integers(np.array([[1.0, -2.0]]), np.array([0.5])).weights.tolist() == [[0.5, -1.0]]
