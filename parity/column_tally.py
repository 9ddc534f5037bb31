"""The columns along one axis, added up batch by batch and held against their own variance."""

from __future__ import annotations

import numpy as np

from attnexport.core.signature import Array

from .columns import Columns
from .moments import Moments

_FEWEST = 4.0 - 1e-9  # effective samples of a column that is judged by its own variance
_COMPARABLE = 10.0  # columns whose standard deviations are within this factor have one scale
_LENT = 3.0  # times its own variance is the most that a column is lent: one that is lost (0 dB) stays below 5 dB
_ROUNDED = 100.0  # columns within this factor are rounded as sums of the same terms
_FINEST = 1e3  # times smaller than the largest column's is the smallest scale that errors are held to
_CONSTANT = 1e-6  # of its magnitude is a column's standard deviation at most, if it is constant
_SUM = 1e-3  # that the sum of a softmax may be off 1
_BLOCK = 1 << 15  # elements that are summed up at once

ABSENT, ONE, CONSTANT, FEW = "masked or padded", "one sample", "constant", "too few samples vary"


class ColumnTally:
    """Adds up the columns along one axis.

    Args:
        axis: The axis, from 1.
        columns: Its size.
    """

    def __init__(self, axis: int, columns: int) -> None:
        self.axis, self.columns = axis, columns
        self._moments = Moments(columns)
        self._noise, self._worst, self.scales = (np.zeros(columns) for _ in range(3))
        self._least, self._greatest, self._sum_error = np.inf, -np.inf, 0.0

    @property
    def errors(self) -> Array:
        """The greatest absolute error of each column."""
        return self._worst

    def add(self, expected: Array, errors: Array, valid: Array | None = None) -> None:
        """Add a batch in float64, `[n, ...]`; what is not valid does not count."""
        rows = max(1, _BLOCK // self.columns)
        expected, errors = self._rows(expected), self._rows(errors)
        counted = None if valid is None else self._rows(valid)
        for start in range(0, len(expected), rows):
            part = slice(start, start + rows)
            self._add(expected[part], errors[part], None if counted is None else counted[part])

    def _rows(self, array: Array) -> Array:
        """An array as rows of columns."""
        return np.moveaxis(array, self.axis, -1).reshape(-1, self.columns)

    def _add(self, expected: Array, errors: Array, valid: Array | None) -> None:
        self._moments.add(expected, valid)
        least, greatest, sums = expected, expected, expected
        if valid is not None:
            errors, sums = np.where(valid, errors, 0.0), np.where(valid, expected, 0.0)
            least, greatest = np.where(valid, expected, np.inf), np.where(valid, expected, -np.inf)
        with np.errstate(over="ignore"):
            self._noise += np.einsum("ij,ij->j", errors, errors)
        np.maximum(self._worst, errors.max(axis=0), out=self._worst)
        lowest, highest = least.min(axis=0), greatest.max(axis=0)
        with np.errstate(invalid="ignore"):
            scales = np.maximum(np.abs(lowest), np.abs(highest))
        np.maximum(self.scales, np.where(np.isfinite(scales), scales, 0.0), out=self.scales)
        self._least, self._greatest = min(self._least, float(lowest.min())), max(self._greatest, float(highest.max()))
        if self._least >= 0 and self._greatest <= 1:
            totals = sums.sum(axis=1)
            totals = totals if valid is None else totals[valid.any(axis=1)]
            self._sum_error = max(self._sum_error, float(np.abs(totals - 1).max(initial=0.0)))

    def result(self, step: float = 0.0) -> Columns:
        """The figures of all columns.

        Args:
            step: Step of the precision within 0 and 1: half of it does not count as an error there.
        """
        moments, counts = self._moments, self._moments.counts
        variances = moments.variances
        varies = variances > np.square(_CONSTANT * self.scales)
        within_one = self._least >= 0 and self._greatest <= 1
        noise = self._noise / np.maximum(counts, 1)
        if within_one:
            noise = np.maximum(noise - step * step / 4, 0.0)
        if within_one and self.columns > 1 and self._sum_error <= _SUM:
            judged = varies & (counts >= _FEWEST)
            signal = np.maximum(variances, variances.mean())
        else:
            enough = varies & (moments.effective >= _FEWEST)
            lent, comparable = _lent(variances, enough)
            judged = enough | (varies & comparable)
            signal = np.maximum(variances, np.where(enough, np.minimum(lent, _LENT * variances), lent))
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels = np.where(noise == 0, np.inf, 10 * np.log10(signal / noise)).round(9)
        worst = int(np.where(judged, decibels, np.inf).argmin()) if judged.any() else None
        reasons = (
            (ABSENT, counts == 0),
            (ONE, counts == 1),
            (CONSTANT, (counts > 1) & ~varies),
            (FEW, (counts > 1) & varies & ~judged),
        )
        return Columns(
            self.axis,
            self.columns,
            int(judged.sum()),
            worst,
            float("inf") if worst is None else float(decibels[worst]),
            float(np.sqrt(variances[worst]) / self.scales[worst]) if worst is not None and varies[worst] else 1.0,
            not_judged=tuple((reason, int(where.sum())) for reason, where in reasons if where.any()),
        )

    def allowed(self, relative_error: float) -> Array:
        """The greatest error that each column may have, as a share of its scale.

        Columns that are smaller than others of comparable scale are allowed up to ten times that share, as sums of
        larger terms are rounded as those.
        """
        own = self.scales
        comparable = np.sqrt(windowed_mean(own, own**2, _ROUNDED))
        largest = own.max(initial=0.0)
        scales = np.maximum(np.maximum(own, np.minimum(comparable, _COMPARABLE * own)), largest / _FINEST)
        return np.asarray(relative_error * scales)

    def changes(self, differences: Array) -> Array:
        """The greatest of some differences `[n, ...]` in each column or, on average, in those of its scale."""
        own = self._rows(differences).max(axis=0, initial=0.0)
        return np.asarray(np.maximum(own, np.sqrt(windowed_mean(self.scales, own**2, _COMPARABLE))))


def _lent(variances: Array, enough: Array) -> tuple[Array, Array]:
    """Of each column, the mean variance of the columns of comparable scale that vary enough, and if there are any."""
    own = np.sqrt(variances)
    given = windowed_mean(own, np.where(enough, variances, 0.0), _COMPARABLE)
    share = windowed_mean(own, enough.astype(np.float64), _COMPARABLE)
    return given / np.where(share > 0, share, 1), share > 0


def windowed_mean(scales: Array, values: Array, factor: float) -> Array:
    """Of each column, the mean of the values of all columns whose scale is within a factor of its own."""
    order = np.argsort(scales)
    ordered = scales[order]
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    first = np.searchsorted(ordered, scales / factor, "left")
    last = np.searchsorted(ordered, scales * factor, "right")
    return np.asarray((sums[last] - sums[first]) / np.maximum(last - first, 1))
