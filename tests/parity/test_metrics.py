"""Metrics against their definitions, and NaN against everything."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from attnexport.parity import agreement, distance

FLOATS = arrays.arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32))


@given(FLOATS, FLOATS)
def test_distance_is_what_it_says(reference: np.ndarray, candidate: np.ndarray) -> None:
    measured = distance(reference, candidate)
    errors = np.abs(candidate.astype(np.float64) - reference.astype(np.float64))
    assert measured.max_error == errors.max()
    assert errors[measured.index] == errors.max()
    assert measured.mean_error == pytest.approx(errors.mean())
    assert measured.rms_error == pytest.approx(np.sqrt((errors**2).mean()))
    assert measured.scale == np.abs(reference).max()


@given(FLOATS)
def test_an_array_is_at_no_distance_from_itself(values: np.ndarray) -> None:
    measured = distance(values, values)
    assert (measured.max_error, measured.rms_error, measured.sqnr_db) == (0, 0, np.inf)


def test_sqnr_is_in_decibels() -> None:
    """A tenth of the amplitude is a hundredth of the energy: 20 dB."""
    reference = np.array([3.0, -4.0, 5.0])
    assert distance(reference, reference * 1.1).sqnr_db == pytest.approx(20)
    assert distance(np.zeros(2), np.ones(2)).sqnr_db == -np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_agree_with_themselves_alone(value: float) -> None:
    reference = np.array([1.0, value])
    assert distance(reference, reference).max_error == 0
    for other in (0.0, 1e30, np.nan, np.inf, -np.inf):
        if not (other == value or (np.isnan(other) and np.isnan(value))):
            measured = distance(reference, np.array([1.0, other]))
            assert measured.max_error == np.inf
            assert measured.index == (1,)
            assert measured.sqnr_db == -np.inf


def test_half_precisions_are_measured_in_float64() -> None:
    for dtype in (np.float16, ml_dtypes.bfloat16):
        assert distance(np.array([1, 2], dtype), np.array([1, 2.5], dtype)).max_error == 0.5
    assert distance(np.array([6e4], np.float16), np.array([-6e4], np.float16)).max_error == 120000


def test_empty_arrays_are_at_no_distance() -> None:
    assert distance(np.zeros((0, 3)), np.zeros((0, 3))).max_error == 0


def test_agreement_is_the_share_of_largest_scores_at_the_label() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    assert agreement(np.array([1, 0, 0, 1]), scores) == 0.75
