"""Verdicts: what passes, what fails, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from attnexport.core import ArgumentError, Arrays, Signature, TensorSpec
from attnexport.parity import BUDGETS, Case, Verdict, compare

Function = Callable[[np.ndarray], np.ndarray]
X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)


class _Runner:
    """Computes one function of one input."""

    signatures: ClassVar[dict[str, Signature]] = {
        "serving_default": Signature(
            "serving_default", (TensorSpec("x", "float32", (None, 6)),), (TensorSpec("y", "float32", None),)
        )
    }

    def __init__(self, function: Function, output: str = "y") -> None:
        self._function, self._output = function, output

    def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
        return {self._output: self._function(inputs["x"])}

    def close(self) -> None:
        """Nothing to free."""


def verdict(reference: Function, candidate: Function, x: np.ndarray = X, **options: Any) -> Verdict:
    return compare(_Runner(reference), _Runner(candidate), [Case("case", {"x": x})], **options)


def test_the_same_numbers_pass() -> None:
    result = verdict(np.tanh, np.tanh)
    assert result
    assert result.worst is not None
    assert result.worst.strain == 0


@pytest.mark.parametrize(("precision", "passing", "failing"), [
    ("float32", 0.9e-5, 1.1e-5),
    ("float16", 10 ** (-61 / 20), 10 ** (-59 / 20)),
    ("bfloat16", 10 ** (-41 / 20), 10 ** (-39 / 20)),
    ("int8", 10 ** (-26 / 20), 10 ** (-24 / 20)),
    ("dynamic", 10 ** (-26 / 20), 10 ** (-24 / 20)),
    ("int16x8", 10 ** (-41 / 20), 10 ** (-39 / 20)),
    ("int4", 10 ** (-16 / 20), 10 ** (-14 / 20)),
])  # fmt: skip
def test_every_budget_binds_where_it_says(precision: str, passing: float, failing: float) -> None:
    """A relative error e on every element is -20 log10(e) dB, and e of the scale at the largest element."""

    def off_by(error: float) -> Function:
        return lambda x: (x.astype(np.float64) * (1 + error)).astype(np.float64)

    def exact(x: np.ndarray) -> np.ndarray:
        return x.astype(np.float64)

    assert verdict(exact, off_by(passing), precision=precision)
    assert not verdict(exact, off_by(failing), precision=precision)


def test_every_precision_of_the_design_has_a_budget() -> None:
    assert set(BUDGETS) == {"float32", "float16", "bfloat16", "dynamic", "int8", "int16x8", "int4"}
    with pytest.raises(ArgumentError, match="did you mean 'int8'"):
        verdict(np.tanh, np.tanh, precision="int88")


def test_a_right_model_at_large_magnitudes_passes() -> None:
    """sin(1e6 x) moves by 0.06 when x moves by an ulp: no fixed tolerance is right there."""
    x = X * np.float32(1e6)

    def other_rounding(values: np.ndarray) -> np.ndarray:
        return np.sin(np.nextafter(values, np.float32(0)))

    assert verdict(np.sin, other_rounding, x)
    assert not verdict(np.sin, lambda values: np.sin(values) + 1.0, x)
    assert not verdict(np.sin, lambda values: np.sin(values) + 1e-3)


def test_a_failure_names_its_place_and_what_is_right() -> None:
    def off(x: np.ndarray) -> np.ndarray:
        y = x.copy()
        y[2, 3] += 0.5
        return y

    result = verdict(lambda x: x, off)
    assert not result
    text = str(result.failures[0])
    assert "worst at [2, 3]" in text
    assert "serving_default output 'y' on case" in text
    assert f"instead of {X[2, 3]:.6g}" in text


@pytest.mark.parametrize(("candidate", "problem"), [
    (lambda x: x[:, :5], "shape [4, 5] instead of [4, 6]"),
    (lambda x: x.astype(np.float64), "dtype float64 instead of float32"),
    (lambda x: np.where(x > 0.95, np.float32(np.nan), x), "worst at [3, 5]"),
])  # fmt: skip
def test_shapes_dtypes_and_nan_are_never_overlooked(candidate: Function, problem: str) -> None:
    assert problem in str(verdict(lambda x: x, candidate).failures[0])


def test_nan_agrees_with_nan_unless_finite_numbers_are_required() -> None:
    def nan(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0.95, np.float32(np.nan), x)

    assert verdict(nan, nan)
    failed = verdict(nan, nan, require_finite=True)
    assert "NaN or infinity at [3, 5]" in str(failed.failures[0])


@pytest.mark.parametrize("dtype", [np.int32, bool, object])
def test_integers_booleans_and_strings_are_equal_or_not(dtype: type) -> None:
    def labels(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0.5, b"a", b"b").astype(object) if dtype is object else (x > 0.5).astype(dtype)

    assert verdict(labels, labels)
    failed = verdict(labels, lambda x: labels(-x))
    assert "values, the first at [0, 0]" in str(failed.failures[0])


def test_other_outputs_are_a_failure() -> None:
    result = compare(_Runner(np.tanh), _Runner(np.tanh, "z"), [Case("case", {"x": X})])
    assert "outputs 'z' instead of 'y'" in str(result.failures[0])


def test_a_verdict_is_json_even_where_figures_are_infinite() -> None:
    for result in (verdict(np.tanh, np.tanh), verdict(np.tanh, lambda x: x * np.float32(np.inf))):
        document = json.loads(json.dumps(result.to_json(), allow_nan=False))
        assert document["passed"] == bool(result)
        assert document["compared"] == 1
