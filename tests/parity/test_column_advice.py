"""What is said of a column that is lost, and by how much of its size it varies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from attnexport.parity import Tally, judge

Array = np.ndarray[Any, Any]


def _eight_bits(x: Array) -> Array:
    """The values of one int8 tensor, whose range has to hold 0."""
    step = (max(x.max(), 0.0) - min(x.min(), 0.0)) / 255
    return np.asarray(np.round(x / step) * step)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (300 + np.c_[np.sin(np.arange(60.0)), np.cos(np.arange(60.0))], "it varies by 0.002 of its size"),
        (1e-2 + 1e-7 * np.sin(np.arange(60.0))[:, None], "it varies by 7e-06 of its size"),
        (
            np.c_[np.sin(np.arange(60.0)), 1000 * np.cos(np.arange(60.0))],
            "give what has another scale an output of its own",
        ),
    ],
)
def test_the_advice_fits_what_is_lost(expected: Array, words: str) -> None:
    actual = _eight_bits(expected)
    tally = Tally()
    tally.add(expected, actual)
    [problem] = judge(tally.result(), "int8", columns=tally.columns).problems
    assert words in problem


def test_a_column_of_zeros_before_equal_ones_has_no_variation() -> None:
    equal = np.c_[np.zeros(60), np.sin(np.arange(60.0))]
    tally = Tally()
    tally.add(equal, equal)
    columns = tally.result().columns
    assert columns is not None
    assert (columns.sqnr_db, columns.variation) == (math.inf, 1.0)
