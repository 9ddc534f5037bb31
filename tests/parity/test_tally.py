"""Measuring batch by batch is measuring all at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import cosine
from scipy.special import softmax
from scipy.stats import entropy

from attnexport.core import ArgumentError
from attnexport.parity import Figures, Limits, Tally, judge
from attnexport.parity.tally import EDGES

ROWS = arrays.arrays(np.float32, (12, 7), elements=st.floats(-50, 50, width=32))


def measured(expected: Any, actual: Any, cuts: tuple[int, ...] = (), **options: Any) -> Figures:
    tally = Tally(**options)
    labels = np.arange(len(expected)) % 7
    for part in np.split(np.arange(len(expected)), cuts):
        tally.add(expected[part], actual[part], labels[part])
    return tally.result()


@settings(max_examples=60)
@given(ROWS, ROWS)
def test_metrics_are_those_of_numpy_and_scipy(expected: Any, actual: Any) -> None:
    found = measured(expected, actual, rtol=0.1, atol=0.01)
    wide, narrow = expected.astype(np.float64), actual.astype(np.float64)
    errors = np.abs(narrow - wide)
    assert found.samples == 12
    assert found.max_error == errors.max()
    assert errors[found.index] == errors.max()
    assert (found.expected, found.actual) == (wide[found.index], narrow[found.index])
    assert found.scale == np.abs(wide).max()
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.nan_to_num(errors / np.abs(wide), nan=0.0, posinf=np.inf)
        decibels = 10 * np.log10((wide**2).sum() / (errors**2).sum())
    assert found.max_relative_error == relative.max() == relative[found.relative_index]
    assert found.sqnr_db == pytest.approx(decibels, rel=1e-9) or not errors.any()
    assert found.mean_error == pytest.approx(errors.mean())
    assert found.rms_error == pytest.approx(np.sqrt((errors**2).mean()))
    assert found.out_of_tolerance == (~np.isclose(narrow, wide, rtol=0.1, atol=0.01)).mean()
    divergence = np.mean([entropy(p, q) for p, q in zip(softmax(wide, -1), softmax(narrow, -1), strict=True)])
    assert found.kl_divergence == pytest.approx(divergence, rel=1e-6, abs=1e-9) or np.isinf(divergence)
    assert found.agreement == (wide.argmax(-1) == narrow.argmax(-1)).mean()
    if wide.any() and narrow.any():
        assert found.cosine_similarity == pytest.approx(1 - cosine(wide.ravel(), narrow.ravel()), abs=1e-9)
    ranks = (narrow > np.take_along_axis(narrow, wide.argmax(-1)[:, None], -1)).sum(-1)
    assert found.top_k_agreement == (ranks < 5).mean()
    labels = np.arange(12) % 7
    assert found.accuracy == (narrow.argmax(-1) == labels).mean()
    assert found.reference_accuracy == (wide.argmax(-1) == labels).mean()
    counts, _ = np.histogram(errors, [-np.inf, *EDGES, np.inf])
    assert np.array_equal(found.histogram, counts) or np.isin(errors, EDGES).any()


WILD = arrays.arrays(
    np.float32,
    (6, 5),
    elements=st.one_of(
        st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0]),
        st.floats(width=32, allow_nan=True, allow_infinity=True),
    ).map(np.float32),
)


@settings(max_examples=100)
@given(WILD, WILD)
def test_adversarial_arrays_are_measured_as_by_hand(expected: Any, actual: Any) -> None:
    """NaN, infinities, denormals, zeros of both signs and the largest floats: element by element in plain Python."""
    found = measured(expected, actual, rtol=0.5, atol=1e-3)
    errors, relatives, outside = [], [], 0
    for right, other in zip(map(float, expected.ravel()), map(float, actual.ravel()), strict=True):
        same = right == other or (math.isnan(right) and math.isnan(other))
        finite = math.isfinite(right) and math.isfinite(other)
        error = 0.0 if same else abs(other - right) if finite else math.inf
        errors.append(error)
        relatives.append(0.0 if same else error / abs(right) if finite and right else math.inf)
        outside += error > 1e-3 + 0.5 * (abs(right) if math.isfinite(right) else 0.0)
    magnitudes = [abs(each) for each in map(float, expected.ravel()) if math.isfinite(each)]
    assert found.max_error == max(errors) == errors[int(np.ravel_multi_index(found.index, expected.shape))]
    assert found.max_relative_error == pytest.approx(max(relatives), rel=1e-12)
    assert found.scale == max(magnitudes, default=0.0)
    assert found.out_of_tolerance == outside / 30
    assert found.mean_error == pytest.approx(math.fsum(errors) / 30)
    noise, signal = math.fsum(each**2 for each in errors), math.fsum(each**2 for each in magnitudes)
    if noise == 0:
        assert found.sqnr_db == math.inf
    elif noise == math.inf or signal == 0:
        assert found.sqnr_db == -math.inf
    else:
        assert found.sqnr_db == pytest.approx(10 * (math.log10(signal) - math.log10(noise)), abs=1e-6)
    assert sum(found.histogram) == 30
    assert found.histogram[-1] == sum(each > EDGES[-1] for each in errors)
    assert found.histogram[0] == sum(each <= EDGES[0] for each in errors)
    assert -1.0000001 <= found.cosine_similarity <= 1.0000001
    finite = np.isfinite(expected).all() and np.isfinite(actual).all()
    assert (found.kl_divergence is None) == (found.agreement is None) == (not finite)


@settings(max_examples=30)
@given(ROWS, ROWS, st.lists(st.integers(1, 11), max_size=4))
def test_batches_make_no_difference(expected: Any, actual: Any, cuts: list[int]) -> None:
    whole, parts = measured(expected, actual), measured(expected, actual, tuple(sorted(cuts)))
    for name, value in {**vars(whole.columns), **vars(whole)}.items():
        if name == "columns":
            continue
        other = {**vars(parts.columns), **vars(parts)}[name]
        assert other == (pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value), name


def test_nan_and_infinity_agree_with_themselves_alone() -> None:
    values = np.array([[1.0, np.nan], [np.inf, 2.0]])
    assert measured(values, values).max_error == 0
    changed = values.copy()
    changed[1, 0] = 3.0
    found = measured(values, changed)
    assert (found.max_error, found.index) == (np.inf, (1, 0))
    assert found.agreement is None


def test_top_k_counts_ties_in_favour() -> None:
    scores = np.array([[0.0, 1, 2, 3, 4, 5, 6]])
    assert measured(scores, -scores).top_k_agreement == 0
    assert measured(scores, np.zeros((1, 7))).top_k_agreement == 1


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"rtol": 0.0, "atol": 0.01}, "out of rtol 0, atol 0.01"),
        ({"min_sqnr_db": 60}, "SQNR 20.0 dB (60 dB needed)"),
        ({"min_agreement": 1.0}, "max error"),
    ],
)
def test_limits_say_what_they_want(limits: dict[str, float], told: str) -> None:
    expected = np.arange(1, 15, dtype=np.float32).reshape(2, 7)
    tolerance = Limits(**limits)
    found = measured(expected, expected * np.float32(1.1), rtol=limits.get("rtol", 0.0), atol=limits.get("atol", 0.0))
    [problem] = judge(found, "float32", tolerance).problems
    assert told in problem
    assert "worst at [1, 6]" in problem
    assert judge(measured(expected, expected), "float32", tolerance)


def test_agreement_and_accuracy_bind_where_asked() -> None:
    expected = np.eye(7, dtype=np.float32)
    actual = np.roll(expected, 1, axis=0) * 0.5 + expected * 0.4
    found = measured(expected, actual)
    limits = Limits(min_sqnr_db=-100, min_agreement=0.9, max_accuracy_drop=5)
    assert judge(found, "int8", limits).problems == (
        "agreement 0.0000 (0.9 needed)",
        "accuracy 100.00 points below the original's (at most 5)",
    )


@pytest.mark.parametrize("wrong", [{"rtol": 1.0}, {"atol": 1.0}, {"min_agreement": 2.0}, {"max_accuracy_drop": -1.0}])
def test_limits_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentError):
        Limits(**wrong)
