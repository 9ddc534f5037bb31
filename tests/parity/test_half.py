"""Half precision ends at 65504: masks beyond it are masked there too, and other values are a failure in words."""

from __future__ import annotations

import numpy as np
import pytest

from attnexport.core import Array, Arrays, Signature, TensorSpec
from attnexport.parity import Batch, Subject, Validation, validate
from attnexport.parity.checks import HALF


class Half:
    """Adds a mask or an offset to each third sample; in float16 if asked to."""

    spec = TensorSpec("x", "float32", (None, 4))

    def __init__(self, added: Array, dtype: str) -> None:
        self.signatures = {"serving_default": Signature("serving_default", (self.spec,), (self.spec,))}
        self._added, self._dtype = added, dtype

    def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
        with np.errstate(over="ignore"):
            added = np.where(np.arange(len(inputs["x"]))[:, None] % 3 == 0, self._added, 0)
            return {"x": (inputs["x"] + added).astype(self._dtype).astype(np.float32)}

    def close(self) -> None:
        """Nothing is open."""


def verdict(added: Array, half: Array | None = None) -> Validation:
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    subject = Subject("a.tflite", HALF, "bfloat16", Half(added if half is None else half, "float16"), edge_cases=False)
    return validate(Half(added, "float32"), [subject], [Batch("data", {"x": x})])


@pytest.mark.parametrize("mask", [-1e9, -1e5])
def test_masks_are_infinite_in_half_precision(mask: float) -> None:
    """All that is not masked is judged as ever."""
    added = np.array([0, mask, 0, 0], np.float32)
    assert verdict(added)
    lost = np.array([0, mask, 0, 2], np.float32)
    assert "column 3" in str(verdict(added, lost).failures[0])
    assert not verdict(added, np.array([0, 0, 0, 0], np.float32))


def test_what_float16_does_not_hold_is_a_failure_in_words() -> None:
    [failure] = verdict(np.array([0, 1e5, 0, 0], np.float32)).failures
    assert failure.problem == (
        "holds NaN or infinity at [0, 1]; float16 ends at 65504, and the original gives more: scale it in the app"
    )
