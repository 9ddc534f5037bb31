"""Signatures: checked when made, and against what is fed."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from attnexport.core import ArgumentError, Arrays, SamplesError, Signature, TensorSpec, batched
from attnexport.core.signature import check_name, dtype_name, usable_name

X = TensorSpec("x", "float32", (None, 3))
Y = TensorSpec("y", "float32", (None, 2))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "1a", "-a"])
def test_names_that_tensorflow_refuses_late_are_refused_at_once_or_made_usable(name: str) -> None:
    with pytest.raises(ArgumentError, match=r"input name .* is not a usable name"):
        check_name(name, "input name")
    assert check_name(usable_name(name), "input name")


def test_a_signature_has_inputs_and_outputs_each_named_once() -> None:
    with pytest.raises(ArgumentError, match="has no output"):
        Signature("s", (X,), ())
    with pytest.raises(ArgumentError, match="names the input 'x' twice"):
        Signature("s", (X, X), (Y,))
    with pytest.raises(ArgumentError, match="'predict', 'classify' or 'regress'"):
        Signature("s", (X,), (Y,), "guess")  # type: ignore[arg-type]


def test_it_reads_as_a_function() -> None:
    assert str(Signature("s", (X,), (Y,))) == "s(x: float32 [?, 3]) -> (y: float32 [?, 2])"
    assert str(TensorSpec("z", "string", None)) == "z: string [...]"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "missing 'x'"),
        ({"x": np.zeros((1, 3), "f"), "z": np.zeros(1)}, "unknown 'z'"),
        ({"x": np.zeros((1, 3))}, "has dtype float64; float32 is expected"),
        ({"x": np.zeros((1, 4), "f")}, r"has shape \[1, 4\]; \[\?, 3\] is expected"),
        ({"x": np.zeros(3, "f")}, r"has shape \[3\]"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: Arrays, message: str) -> None:
    with pytest.raises(SamplesError, match=message):
        Signature("s", (X,), (Y,)).check_inputs(inputs)


def test_inputs_that_fit_pass() -> None:
    Signature("s", (X,), (Y,)).check_inputs({"x": np.zeros((5, 3), "f")})


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (np.array(["a"]), "string"),
        (np.array([b"a"]), "string"),
        (np.array([b"a"], object), "string"),
        (np.zeros(1, ml_dtypes.bfloat16), "bfloat16"),
        (np.zeros(1, bool), "bool"),
    ],
)
def test_dtypes_have_the_names_of_specs(array: Any, name: str) -> None:
    assert dtype_name(array) == name


class _Doubler:
    """Doubles its input and records the batches that it was given."""

    def __init__(self, batch: int | None) -> None:
        self.signatures = {
            "serving_default": Signature("serving_default", (TensorSpec("x", "float32", (batch, 1)),), (Y,))
        }
        self.batches: list[int] = []

    def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
        self.batches.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2}

    def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize(
    ("fixed", "batch_size", "batches"),
    [(None, None, [7]), (None, 3, [3, 3, 1]), (4, None, [4, 4]), (1, None, [1] * 7), (10, None, [10])],
)
def test_any_number_of_samples_goes_through_any_batch(
    fixed: int | None, batch_size: int | None, batches: list[int]
) -> None:
    runner = _Doubler(fixed)
    x = np.arange(7, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(batched(runner, {"x": x}, batch_size=batch_size)["y"], x * 2)
    assert runner.batches == batches


def test_batching_nothing_or_an_unknown_signature_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="at least one"):
        batched(_Doubler(None), {"x": np.zeros((0, 1), "f")})
    with pytest.raises(ArgumentError, match="did you mean 'serving_default'"):
        batched(_Doubler(None), {"x": np.zeros((1, 1), "f")}, signature="serving_defautl")
