"""All columns of an output, added up in one pass: masked values and padded steps are set apart.

Beside boxes in pixels every score of a detector can be lost, and a temperature of 300 K hides its own changes. So each
column is held against its own variance, that is with its mean taken out. docs/explanation/columns.md has the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from attnexport.core.signature import Array

from .column_tally import ColumnTally
from .columns import Beyond, Columns, column_name
from .masked import GREATEST, Mask, find_mask
from .metrics import absolute_errors

MAX_COLUMNS = 1 << 20


class ColumnTallies:
    """Adds up the columns of an output along its last axis, and along axis 1 if that is another one.

    Channels may come first: detectors have `[n, 4 + classes, boxes]`. Masked values and padded steps are set apart.

    Example:
        >>> expected = np.random.default_rng(0).normal([0.5, 300.0], [0.1, 100.0], (60, 2))
        >>> actual = np.stack([np.zeros(60), expected[:, 1]], axis=1)
        >>> tallies = ColumnTallies()
        >>> tallies.add(expected, actual)
        >>> columns = tallies.result()
        >>> columns.place, round(columns.sqnr_db)
        ('column 0', -15)
    """

    def __init__(self) -> None:
        self._tallies: list[ColumnTally] = []
        self._rank = 2
        self._mask: Mask | None = None
        self._masked = self._otherwise = self._padded = 0

    def add(self, expected: Array, actual: Array, errors: Array | None = None) -> None:
        """Add a batch in float64.

        Args:
            expected: The original's output, `[n, ...]`; one of rank 1 is one column.
            actual: The artifact's.
            errors: The absolute errors, if they are known already.
        """
        if errors is None:
            errors = absolute_errors(expected, actual)
        expected, actual, errors = (_with_columns(each) for each in (expected, actual, errors))
        if not self._tallies:
            self._rank = expected.ndim
            axes = dict.fromkeys((expected.ndim - 1, 1))
            self._tallies = [ColumnTally(axis, expected.shape[axis]) for axis in axes if expected.shape[axis]]
            self._tallies = [each for each in self._tallies if each.columns <= MAX_COLUMNS]
        valid, masked, padded = self._parts(expected)
        if masked is not None and self._mask is not None:
            self._masked += int(masked.sum())
            self._otherwise += int((masked != self._mask.of(actual)).sum())
        self._padded += 0 if padded is None else int(padded.sum())
        for tally in self._fitting(expected):
            tally.add(expected, errors, None if valid.all() else valid)

    def result(self, step: float = 0.0) -> Columns | None:
        """The figures of all columns; None if there are none, or too many.

        Args:
            step: As in `ColumnTally.result`.
        """
        found = [replace(each.result(step), on_last_axis=each.axis == self._rank - 1) for each in self._tallies]
        if not found:
            return None
        worst, last = min(found, key=lambda each: each.sqnr_db), found[0]
        return replace(
            last,
            axis=worst.axis,
            worst=worst.worst,
            sqnr_db=worst.sqnr_db,
            variation=worst.variation,
            on_last_axis=worst.on_last_axis,
            masked=self._masked,
            masked_otherwise=self._otherwise,
            padded=self._padded,
        )

    def beyond(self, relative_error: float, moved: Callable[[], tuple[Array, Array]] | None = None) -> list[Beyond]:
        """The columns with an error above a relative one of their scale.

        Args:
            relative_error: The greatest error that is allowed, relative to a column's greatest magnitude.
            moved: Gives some outputs of the original, and those for inputs that were moved by an ulp; only called if
                there are such columns.
        """
        found = []
        for tally in self._tallies:
            allowed = tally.allowed(relative_error)
            numbers = np.flatnonzero(tally.errors > allowed)
            if not numbers.size:
                continue
            changes = np.zeros(tally.columns) if moved is None else self._changes(tally, *moved())
            found += [
                Beyond(
                    column_name(int(each), tally.axis, tally.axis == self._rank - 1),
                    float(tally.errors[each]),
                    float(allowed[each]),
                    float(changes[each]),
                )
                for each in numbers
            ]
        return found

    def _parts(self, expected: Array) -> tuple[Array, Array | None, Array | None]:
        """What counts, what is masked and which steps are padded."""
        valid, masked, padded = np.isfinite(expected), None, None
        if self._mask is None and expected.min(initial=0.0, where=valid) <= GREATEST:
            self._mask = find_mask(expected)
        if self._mask is not None:
            masked = self._mask.of(expected)
            valid &= ~masked
        if expected.ndim > 2 and expected.shape[-1] > 1:
            padded = np.asarray(~expected.any(axis=-1))
            valid &= ~padded[..., None]
        return valid, masked, padded

    def _changes(self, tally: ColumnTally, outputs: Array, moved: Array) -> Array:
        """How much each column, or those of its scale, changes from the outputs to the moved ones."""
        before, after = (_with_columns(each).astype(np.float64, copy=False) for each in (outputs, moved))
        if tally not in self._fitting(before):
            return np.zeros(tally.columns)
        valid, *_ = self._parts(before)
        with np.errstate(invalid="ignore"):
            changes = np.where(valid & np.isfinite(after), np.abs(after - before), 0.0)
        return tally.changes(changes)

    def _fitting(self, expected: Array) -> list[ColumnTally]:
        """The tallies of an array; a free axis may have another size than before."""
        return [
            each for each in self._tallies if each.axis < expected.ndim and each.columns == expected.shape[each.axis]
        ]


def _with_columns(array: Array) -> Array:
    return array.reshape(-1, 1) if array.ndim < 2 else array
