"""The original on edge cases: in few calls, with the outcome of one call for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from attnexport.core import Arrays, ModelError, Signature, TensorSpec
from attnexport.parity import Batch, Subject, Validation, validate
from attnexport.parity.edge_cases import edge_cases

Of = Callable[[Any], Any]

SIGNATURE = Signature(
    "serving_default", (TensorSpec("x", "float32", (None, 4, 3)),), (TensorSpec("y", "float32", None),)
)
CASES = [Batch(name, inputs, is_edge=True) for name, inputs in edge_cases(SIGNATURE)]


class Function:
    """Runs a function of x, and counts its calls."""

    signatures: ClassVar = {"serving_default": SIGNATURE}

    def __init__(self, function: Of) -> None:
        self.function, self.sizes = function, list[int]()

    def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
        self.sizes.append(len(inputs["x"]))
        return {"y": np.float32(self.function(inputs["x"].astype(np.float64)))}

    def close(self) -> None:
        """Nothing to free."""


def plain(x: Any) -> Any:
    return np.tanh(x) @ np.arange(12.0).reshape(3, 4)


def compared(original: Of, artifact: Of, *, in_few_calls: bool) -> tuple[Validation, Function]:
    runner = Function(original)
    subject = Subject("a.float32.tflite", "interpreter", "float32", Function(artifact))
    return validate(runner, [subject], CASES, in_few_calls=in_few_calls), runner


def centred(x: Any) -> Any:
    return plain(x - x.mean(axis=0, keepdims=True))


def running(x: Any) -> Any:
    return plain(np.cumsum(x, axis=0))


def below_the_greatest(x: Any) -> Any:
    return plain(x / np.maximum(1, np.abs(x).max()))


def of_one(x: Any) -> Any:
    return plain(x) if len(x) > 1 else plain(2 * x)


def refuses_many(x: Any) -> Any:
    if len(x) > 5:
        raise ModelError("too many")
    return plain(x)


def without_batch(x: Any) -> Any:
    return plain(x).sum(axis=0)


@pytest.mark.parametrize("function", [plain, centred, running, below_the_greatest, of_one, refuses_many, without_batch])
def test_a_right_artifact_passes_whatever_the_original_makes_of_a_batch(function: Of) -> None:
    verdict, runner = compared(function, function, in_few_calls=True)
    alone, _ = compared(function, function, in_few_calls=False)
    assert verdict
    assert verdict == alone
    assert all(each.measured is not None and each.measured.max_error == 0 for each in verdict.checks)
    assert (len(runner.sizes) == 3) == (function is plain)


def large_is_off(x: Any) -> Any:
    return plain(x) + 0.01 * (np.abs(x) > 100)[..., :1]


def mixes(x: Any) -> Any:
    return plain(x) + 1e-3 * plain(x).mean(axis=0, keepdims=True)


@pytest.mark.parametrize("function", [large_is_off, mixes, of_one])
def test_a_wrong_artifact_fails_on_the_same_cases_as_alone(function: Of) -> None:
    verdict, _ = compared(plain, function, in_few_calls=True)
    alone, _ = compared(plain, function, in_few_calls=False)
    assert verdict.failures
    assert list(map(str, verdict.failures)) == list(map(str, alone.failures))


def test_samples_in_pieces_are_added_up() -> None:
    pieces = [Batch("samples", {"x": np.full((n, 4, 3), n / 7, np.float32)}) for n in (4, 3)]
    for in_few_calls in (True, False):
        subject = Subject("a.float32.tflite", "interpreter", "float32", Function(plain))
        verdict = validate(Function(plain), [subject], [*pieces, *CASES], in_few_calls=in_few_calls)
        assert verdict
        assert verdict.checks[0].measured is not None
        assert verdict.checks[0].measured.samples == 7


def infinite(x: Any) -> Any:
    with np.errstate(divide="ignore"):
        return 1 / x


def test_a_case_on_which_the_original_is_not_finite_is_left_out() -> None:
    verdict, runner = compared(infinite, infinite, in_few_calls=True)
    assert verdict
    assert {check.case for check in verdict.checks} == {"ones", "large", "tiny", "batch of 1", "batch of 5"}
    assert len(runner.sizes) == 3
