"""Mean, variance and effective number of samples of each column, merged batch by batch in constant memory."""

from __future__ import annotations

import numpy as np

from attnexport.core.signature import Array


class Moments:
    """Counts, means and sums of central powers of columns.

    Sources: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979;
    Pébay, "Formulas for Robust, One-Pass Parallel Computation of Covariances and Arbitrary-Order Statistical Moments",
    2008, equations 1.3 to 1.6.

    Args:
        columns: Number of columns.

    Example:
        >>> moments = Moments(1)
        >>> for batch in ([[300.0], [302.0]], [[304.0]]):
        ...     moments.add(np.array(batch))
        >>> moments.mean.tolist(), moments.variances.round(6).tolist()
        ([302.0], [2.666667])
    """

    def __init__(self, columns: int) -> None:
        self.counts = np.zeros(columns)
        self.mean = np.zeros(columns)
        self._second, self._third, self._fourth = (np.zeros(columns) for _ in range(3))

    def add(self, values: Array, valid: Array | None = None) -> None:
        """Add rows `[n, columns]` in float64; elements that are not valid do not count, and may hold anything."""
        with np.errstate(over="ignore", invalid="ignore"):
            if valid is None:
                counts = np.full(len(self.mean), float(len(values)))
                mean = values.mean(axis=0)
                centred = values - mean
            else:
                counts = valid.sum(axis=0, dtype=np.float64)
                mean = np.where(valid, values, 0.0).sum(axis=0) / np.maximum(counts, 1)
                centred = np.where(valid, values - mean, 0.0)
            squares = centred * centred
            third, fourth = (np.einsum("ij,ij->j", squares, each) for each in (centred, squares))
            self._merge(counts, mean, squares.sum(axis=0), third, fourth)

    def _merge(self, counts: Array, mean: Array, second: Array, third: Array, fourth: Array) -> None:
        a, b = self.counts, counts
        n = np.maximum(a + b, 1)
        step = np.where(b > 0, mean - self.mean, 0.0)
        share = step / n
        self._fourth += fourth + step * share**3 * a * b * (a * a - a * b + b * b)
        self._fourth += 6 * share**2 * (a * a * second + b * b * self._second)
        self._fourth += 4 * share * (a * third - b * self._third)
        self._third += third + step * share**2 * a * b * (a - b) + 3 * share * (a * second - b * self._second)
        self._second += second + step * share * a * b
        self.mean = self.mean + share * b
        self.counts = a + b

    @property
    def variances(self) -> Array:
        """Mean squared distance from the mean, by column."""
        return np.asarray(self._second / np.maximum(self.counts, 1))

    @property
    def effective(self) -> Array:
        """How many samples make up the variance: all if they are as far from the mean, 1 if one alone is elsewhere.

        (sum d²)² / sum d⁴ of the distances d from the mean: the number of samples over their kurtosis.
        """
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = np.where(self._fourth > 0, self._second**2 / self._fourth, 0.0)
        return np.where(np.isfinite(found), found, self.counts)
