"""Whether a sample's answer depends on its batch: told from rounding, and from outputs without a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attnexport.core import Signature, TensorSpec
from attnexport.parity import Case
from attnexport.parity.mixing import mixed_output


class Computing:
    """Runs a function as a model of one input and output."""

    def __init__(self, function: Callable[[Any], dict[str, Any]]) -> None:
        self._function = function
        spec = TensorSpec("x", "float32", (None, 3))
        self.signatures = {"serving_default": Signature("serving_default", (spec,), (spec,))}

    def run(self, inputs: dict[str, Any], signature: str = "serving_default") -> dict[str, Any]:
        return self._function(inputs["x"])


def _rounded(x: Any) -> Any:
    """As bfloat16 would in another order where there are several samples: by a hundredth of the outputs' size."""
    return x + (0.01 if len(x) > 1 else 0.0)


def _standardized(x: Any) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        return {"y": (x - x.mean(axis=0)) / x.std(axis=0)}


@pytest.mark.parametrize(
    ("function", "mixed"),
    [
        (lambda x: {"y": x}, None),
        (lambda x: {"y": _rounded(x)}, None),
        (lambda x: {"y": x - x.mean(axis=0)}, "y"),
        (lambda x: {"y": x / np.abs(x).max()}, "y"),
        (lambda x: {"table": np.ones((1, 5), np.float32), "y": x - x.mean(axis=0)}, "y"),
        (lambda x: {"count": np.float32(len(x)), "y": x}, None),
        (lambda x: {"y": x[:, :0]}, None),
        (_standardized, "y"),
        (lambda x: {"y": np.where(x > 0, np.inf, x)}, None),
    ],
    ids=["alone", "rounding", "mean", "greatest", "beside a table", "a scalar", "nothing", "NaN alone", "infinity"],
)
def test_what_mixes_samples_is_told_from_rounding(function: Any, mixed: str | None) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    x[0] *= 0.01  # a sample whose own answers are no larger than rounding at the size of the others
    case = Case("several", {"x": x}, expected=function(x))
    assert mixed_output(Computing(function), case) == mixed
