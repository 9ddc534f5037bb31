"""Measure an output batch by batch, in constant memory whatever the number of samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attnexport.core.errors import SamplesError
from attnexport.core.signature import Array

from .column_tallies import ColumnTallies
from .figures import Figures
from .metrics import (
    absolute_errors,
    distance,
    is_scores,
    kl_divergences,
    out_of_tolerance,
    relative_errors,
    sqnr_db,
    top_k_agreements,
)

TOP_K = 5
# Errors are counted by decade of their size: below the first edge, between two edges, above the last.
EDGES = tuple(10.0**exponent for exponent in range(-12, 5))


class Tally:
    """Adds up the figures of one output.

    Args:
        rtol: Relative tolerance, for the share of elements out of tolerance.
        atol: Absolute tolerance, in the output's unit.
        step: Step of the precision within 0 and 1; see `Budget`.

    Example:
        >>> tally = Tally()
        >>> for expected, actual in (([3.0, 4.0], [3.0, 4.5]), ([5.0, 0.0], [5.0, 0.0])):
        ...     _ = tally.add(np.array([expected]), np.array([actual]))
        >>> tally.result().max_error, tally.result().index
        (0.5, (0, 1))
    """

    def __init__(self, *, rtol: float = 0.0, atol: float = 0.0, step: float = 0.0) -> None:
        self._rtol, self._atol, self._step = rtol, atol, step
        self.columns = ColumnTallies()
        self._samples = self._elements = self._outside = self._rows = 0
        self._sums = dict.fromkeys(("error", "noise", "signal", "candidate", "product", "kl", "top_1", "top_k"), 0.0)
        self._right, self._reference_right, self._labelled = 0, 0, 0
        self._worst: tuple[float, tuple[int, ...], float, float] = (-1.0, (), 0.0, 0.0)
        self._worst_relative: tuple[float, tuple[int, ...]] = (-1.0, ())
        self._scale = 0.0
        self._histogram = np.zeros(len(EDGES) + 1, np.int64)

    def add(self, expected: Array, actual: Array, labels: Array | None = None, *, with_classes: bool = True) -> bool:
        """Add a batch of floats.

        Args:
            expected: The original's output, `[n, ...]`.
            actual: The artifact's output, of the same shape.
            labels: The right classes, `[n]`.
            with_classes: Whether its columns may be classes, so that agreement means something.

        Returns:
            Whether its greatest error is the greatest so far.
        """
        first, self._samples = self._samples, self._samples + count(expected)
        if not expected.size:
            return False
        expected, actual = expected.astype(np.float64, copy=False), actual.astype(np.float64, copy=False)
        errors = absolute_errors(expected, actual)
        self.columns.add(expected, actual, errors)
        self._elements += errors.size
        self._outside += int(out_of_tolerance(expected, actual, rtol=self._rtol, atol=self._atol, errors=errors).sum())
        self._histogram += np.bincount(np.searchsorted(EDGES, errors.reshape(-1)), minlength=len(EDGES) + 1)
        self._add_energies(expected, actual, errors)
        if with_classes:
            self._add_scores(expected, actual, labels)
        return self._add_worst(expected, actual, errors, first)

    def result(self) -> Figures:
        """The figures of everything added."""
        sums, rows, elements = self._sums, self._rows, max(self._elements, 1)
        norm = np.sqrt(sums["signal"] * sums["candidate"])
        labelled = self._labelled
        return Figures(
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
            agreement=sums["top_1"] / rows if rows else None,
            top_k_agreement=sums["top_k"] / rows if rows else None,
            accuracy=self._right / labelled if labelled else None,
            reference_accuracy=self._reference_right / labelled if labelled else None,
            columns=self.columns.result(self._step),
            histogram=tuple(int(count) for count in self._histogram),
        )

    def _add_energies(self, expected: Array, actual: Array, errors: Array) -> None:
        known, both = expected, (expected, actual)
        if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
            known, finite = expected[np.isfinite(expected)], np.isfinite(expected) & np.isfinite(actual)
            both = expected[finite], actual[finite]
        self._scale = max(self._scale, float(np.abs(known).max(initial=0.0)))
        self._sums["error"] += float(errors.sum())
        with np.errstate(over="ignore"):
            for name, one, other in (
                ("noise", errors, errors),
                ("signal", known, known),
                ("candidate", both[1], both[1]),
                ("product", *both),
            ):
                # Not vdot, whose threads use more processor time than they save.
                self._sums[name] += float((one * other).sum())

    def _add_scores(self, expected: Array, actual: Array, labels: Array | None) -> None:
        if expected.ndim < 2 or expected.shape[-1] < 2:
            return
        if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
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
        relative = relative_errors(expected, actual, errors)
        place = np.unravel_index(int(relative.argmax()), relative.shape)
        if relative[place] > self._worst_relative[0]:
            self._worst_relative = float(relative[place]), _place(place, first)
        place = np.unravel_index(int(errors.argmax()), errors.shape)
        if errors[place] <= self._worst[0]:
            return False
        self._worst = float(errors[place]), _place(place, first), float(expected[place]), float(actual[place])
        return True


def measure(expected: Array, actual: Array, labels: Array | None = None) -> Figures:
    """All figures of one output over all samples.

    Args:
        expected: The original's output, `[n, ...]`.
        actual: The artifact's output, of the same shape.
        labels: The right classes, `[n]`.

    Example:
        >>> print(measure(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.8, 0.1], [0.3, 0.8]]), np.array([0, 0])))
        SQNR 18.8 dB, agreement 1.0000, accuracy 50.0%
    """
    tally = Tally()
    tally.add(expected, actual, labels)
    return tally.result()


def evaluate(expected: Array, actual: Array, labels: Array | None = None, *, step: float = 0.0) -> Figures:
    """The figures of an output on evaluation samples: agreement and accuracy too if it is scores `[n, classes]`.

    Args:
        expected: The original's output, `[n, ...]`.
        actual: The artifact's output, of the same shape.
        labels: The right classes, `[n]`.
        step: Step of the precision within 0 and 1; see `Budget`.

    Raises:
        SamplesError: A label is not one of the classes.

    Example:
        >>> print(evaluate(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.8, 0.1], [0.3, 0.8]]), np.array([0, 1])))
        SQNR 18.8 dB, agreement 1.0000, accuracy 100.0%
    """
    if not is_scores(expected):
        labels = None
    elif labels is not None:
        check_labels(labels, expected.shape[1])
    tally = Tally(step=step)
    tally.add(expected, actual, labels)
    if is_scores(expected):
        return tally.result()
    return replace(distance(expected, actual), samples=count(expected), columns=tally.columns.result(step))


def check_labels(labels: Array, classes: int) -> None:
    """Refuse labels that are not classes.

    Raises:
        SamplesError: Names the first wrong label.
    """
    wrong = labels[~np.isin(labels, np.arange(classes))]
    if len(wrong):
        raise SamplesError(f"labels must be classes, 0 to {classes - 1}; received {wrong[0]}")


def count(output: Array) -> int:
    """The number of samples in an output; a scalar is one."""
    return len(output) if output.ndim else 1


def _place(index: Any, first: int) -> tuple[int, ...]:
    """An index within a batch as one over all samples."""
    numbers = [int(each) for each in index]
    return (numbers[0] + first, *numbers[1:]) if numbers else ()
