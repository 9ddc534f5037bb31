"""Measuring an output batch by batch, in constant memory, however many samples there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .metrics import (
    Array,
    absolute_errors,
    kl_divergences,
    out_of_tolerance,
    relative_errors,
    sqnr_db,
    top_k_agreements,
)

TOP_K = 5
# Errors are counted by decade of their size relative to nothing: below the first edge, between two, above the last.
EDGES = tuple(10.0**exponent for exponent in range(-12, 5))


@dataclass(frozen=True)
class Measurement:
    """What was measured of one output over all samples.

    Errors are in the output's own unit, `index` is the place of the greatest, its first number counting samples from
    the first; `scale` is the reference's largest finite magnitude; `kl_divergence` is in nats and, as the agreements
    and accuracies (0 to 1), None where the output is no row of scores or there are no labels. `histogram` counts errors
    between `tally.EDGES`, those below the first and above the last included.
    """

    samples: int
    max_error: float
    index: tuple[int, ...]
    expected: float
    actual: float
    max_relative_error: float
    relative_index: tuple[int, ...]
    mean_error: float
    rms_error: float
    scale: float
    sqnr_db: float
    cosine_similarity: float
    out_of_tolerance: float
    kl_divergence: float | None
    top_1_agreement: float | None
    top_k_agreement: float | None
    accuracy: float | None
    reference_accuracy: float | None
    histogram: tuple[int, ...]


class Tally:
    """Adds up what a Measurement says.

    Args:
        rtol: Relative and
        atol: absolute tolerance, for the share of elements out of it.
    """

    def __init__(self, *, rtol: float = 0.0, atol: float = 0.0) -> None:
        self._rtol, self._atol = rtol, atol
        self._samples = self._elements = self._outside = self._rows = 0
        self._sums = dict.fromkeys(("error", "noise", "signal", "candidate", "product", "kl", "top_1", "top_k"), 0.0)
        self._right, self._reference_right, self._labelled = 0, 0, 0
        self._worst: tuple[float, tuple[int, ...], float, float] = (-1.0, (), 0.0, 0.0)
        self._worst_relative: tuple[float, tuple[int, ...]] = (-1.0, ())
        self._scale = 0.0
        self._histogram = np.zeros(len(EDGES) + 1, np.int64)

    def add(self, expected: Array, actual: Array, labels: Array | None = None) -> bool:
        """Add a batch `[n, ...]` of floats; whether its greatest error is the greatest so far."""
        first, self._samples = self._samples, self._samples + len(expected)
        if not expected.size:
            return False
        errors = absolute_errors(expected, actual)
        self._elements += errors.size
        self._outside += int(out_of_tolerance(expected, actual, rtol=self._rtol, atol=self._atol).sum())
        self._histogram += np.bincount(np.searchsorted(EDGES, errors.reshape(-1)), minlength=len(EDGES) + 1)
        self._add_energies(expected, actual, errors)
        self._add_scores(expected, actual, labels)
        return self._add_worst(expected, actual, errors, first)

    def result(self) -> Measurement:
        """The measurement of everything added."""
        sums, rows, elements = self._sums, self._rows, max(self._elements, 1)
        norm = np.sqrt(sums["signal"] * sums["candidate"])
        labelled = self._labelled
        return Measurement(
            samples=self._samples,
            max_error=max(self._worst[0], 0.0),
            index=self._worst[1],
            expected=self._worst[2],
            actual=self._worst[3],
            max_relative_error=max(self._worst_relative[0], 0.0),
            relative_index=self._worst_relative[1],
            mean_error=sums["error"] / elements,
            rms_error=float(np.sqrt(sums["noise"] / elements)),
            scale=self._scale,
            sqnr_db=sqnr_db(sums["signal"], sums["noise"]),
            cosine_similarity=float(sums["product"] / norm) if norm else float(sums["signal"] == sums["candidate"]),
            out_of_tolerance=self._outside / elements,
            kl_divergence=sums["kl"] / rows if rows else None,
            top_1_agreement=sums["top_1"] / rows if rows else None,
            top_k_agreement=sums["top_k"] / rows if rows else None,
            accuracy=self._right / labelled if labelled else None,
            reference_accuracy=self._reference_right / labelled if labelled else None,
            histogram=tuple(int(count) for count in self._histogram),
        )

    def _add_energies(self, expected: Array, actual: Array, errors: Array) -> None:
        reference, candidate = expected.astype(np.float64), actual.astype(np.float64)
        finite = np.isfinite(reference) & np.isfinite(candidate)
        magnitudes = np.abs(reference[np.isfinite(reference)])
        self._scale = max(self._scale, float(magnitudes.max(initial=0.0)))
        for name, value in (
            ("error", errors),
            ("noise", np.square(errors)),
            ("signal", np.square(magnitudes)),
            ("candidate", np.square(candidate[finite])),
            ("product", reference[finite] * candidate[finite]),
        ):
            self._sums[name] += float(value.sum())

    def _add_scores(self, expected: Array, actual: Array, labels: Array | None) -> None:
        if expected.ndim < 2 or expected.shape[-1] < 2:
            return
        if not (np.isfinite(expected.astype(np.float64)).all() and np.isfinite(actual.astype(np.float64)).all()):
            return
        rows = int(np.prod(expected.shape[:-1]))
        self._rows += rows
        self._sums["kl"] += float(kl_divergences(expected, actual).sum())
        self._sums["top_1"] += float((expected.argmax(axis=-1) == actual.argmax(axis=-1)).sum())
        self._sums["top_k"] += float(top_k_agreements(expected, actual, TOP_K).sum())
        if labels is not None and expected.ndim == 2:
            self._labelled += rows
            self._right += int((actual.argmax(axis=-1) == labels).sum())
            self._reference_right += int((expected.argmax(axis=-1) == labels).sum())

    def _add_worst(self, expected: Array, actual: Array, errors: Array, first: int) -> bool:
        relative = relative_errors(expected, actual)
        place = np.unravel_index(int(relative.argmax()), relative.shape)
        if relative[place] > self._worst_relative[0]:
            self._worst_relative = float(relative[place]), _place(place, first)
        place = np.unravel_index(int(errors.argmax()), errors.shape)
        if errors[place] <= self._worst[0]:
            return False
        self._worst = float(errors[place]), _place(place, first), float(expected[place]), float(actual[place])
        return True


def _place(index: Any, first: int) -> tuple[int, ...]:
    """An index within a batch as one over all samples."""
    numbers = [int(each) for each in index]
    return (numbers[0] + first, *numbers[1:]) if numbers else ()
