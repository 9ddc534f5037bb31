"""Weights as integers whose errors cancel in a layer's outputs: GPTQ, followed by coordinate descent.

Rounding each weight to the nearest integer ignores that inputs are correlated: the error of one weight can be made
good by the weights after it. With the second moments H = E[x xᵀ] of a layer's inputs, the expected squared error of an
output is e H eᵀ, e being the row of weight errors. GPTQ (Frantar et al., 2022, https://arxiv.org/abs/2210.17323,
equation 2) rounds one input's weights after another and moves the error of each onto the inputs that are left.
Coordinate descent then changes single integers as long as e H eᵀ falls, and the scale of a row is the one that fits
its integers best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnexport.core.signature import Array

_DAMPING = 0.01  # of H's mean diagonal, added to it: few samples say little about rare directions
_BLOCK = 64  # inputs that are handled before the others learn of it
_SWEEPS = 2
_FACTORS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65)  # of the scale that holds the greatest weight


@dataclass(frozen=True)
class Integers:
    """The weights of a layer as integers.

    Attributes:
        values: Integers `[outputs, inputs]`, as floats.
        scales: The scale of each output, `[outputs]`.
    """

    values: Array
    scales: Array

    @property
    def weights(self) -> Array:
        """The weights that they stand for, `[outputs, inputs]`."""
        return self.values * self.scales[:, None]


def fit_integers(weights: Array, moments: Array, bits: int) -> Integers:
    """Round the weights of a layer so that its outputs change least.

    Args:
        weights: `[outputs, inputs]`.
        moments: Second moments of the inputs, `[inputs, inputs]`.
        bits: Bits of an integer; the range is symmetric.

    Returns:
        Integers whose expected squared output error is, for no output, above that of rounding to the nearest.

    Example:
        >>> import numpy as np
        >>> always_equal = np.ones((2, 2))  # of two inputs only the sum of their weights counts
        >>> fitted = fit_integers(np.array([[7.0, 0.4]]), always_equal, bits=4)
        >>> print(fitted.weights.sum().round(1))
        7.4
    """
    weights = weights.astype(np.float64)
    damped = moments.astype(np.float64)
    least = float(np.finfo(np.float32).tiny)
    damped += np.eye(len(damped)) * max(_DAMPING * float(np.diag(damped).mean()), least)
    most = 2.0 ** (bits - 1) - 1
    nearest, start = _nearest(weights, damped, most)
    values = _descend(weights, start.integers, _sequential(weights, start.integers.scales, damped, most), damped, most)
    return _better(nearest, _better(start, _Rated.of(values, weights, damped))).integers


def output_errors(weights: Array, rounded: Array, moments: Array) -> Array:
    """The expected squared error of each output, `[outputs]`."""
    errors = weights - rounded
    products: Array = ((errors @ moments) * errors).sum(axis=1)
    return products


@dataclass(frozen=True)
class _Rated:
    """Integers with the error of each output, `[outputs]`, which costs a product of whole matrices."""

    integers: Integers
    errors: Array

    @classmethod
    def of(cls, integers: Integers, weights: Array, moments: Array) -> _Rated:
        return cls(integers, output_errors(weights, integers.weights, moments))


def _nearest(weights: Array, moments: Array, most: float) -> tuple[_Rated, _Rated]:
    """Rounded to the nearest: with the scale that holds the greatest weight of each row, and with the best of some."""
    bound = np.maximum(np.abs(weights).max(axis=1), 1e-9)
    rated = []
    for factor in _FACTORS:
        scales = _float32(factor * bound / most)
        values = np.clip(np.rint(weights / scales[:, None]), -most, most)
        rated.append(_Rated.of(Integers(values, scales), weights, moments))
    best = rated[0]
    for each in rated[1:]:
        best = _better(best, each)
    return rated[0], best


def _better(first: _Rated, second: _Rated) -> _Rated:
    """Of each row the one with the smaller error."""
    chosen, one, other = second.errors < first.errors, first.integers, second.integers
    integers = Integers(np.where(chosen[:, None], other.values, one.values), np.where(chosen, other.scales, one.scales))
    return _Rated(integers, np.where(chosen, second.errors, first.errors))


def _sequential(weights: Array, scales: Array, moments: Array, most: float) -> Array:
    """GPTQ: the integers of one input after another, those of the strongest inputs first."""
    order = np.argsort(-np.diag(moments), kind="stable")
    left, values = weights[:, order].copy(), np.empty_like(weights)
    # Row i of the factor says how an error of input i is best made good by the inputs after it.
    try:
        factor = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    except np.linalg.LinAlgError:  # the moments of inputs far from zero are lost to rounding
        return np.clip(np.rint(weights / scales[:, None]), -most, most)
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        errors = np.empty((len(weights), stop - start))
        for at in range(start, stop):
            integers = np.clip(np.rint(left[:, at] / scales), -most, most)
            values[:, order[at]] = integers
            error = (left[:, at] - integers * scales) / factor[at, at]
            left[:, at:stop] -= np.outer(error, factor[at, at:stop])
            errors[:, at - start] = error
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    return values


def _descend(weights: Array, start: Integers, values: Array, moments: Array, most: float) -> Integers:
    """Coordinate descent over the integers, and in turn the scale that fits each row best."""
    values, scales = values.copy(), start.scales
    for _ in range(_SWEEPS):
        _sweep(weights, values, scales, moments, most)
        weighted = values @ moments
        energy = (weighted * values).sum(axis=1)
        fitted = (weighted * weights).sum(axis=1) / np.where(energy > 0, energy, 1.0)
        scales = _float32(np.where(fitted > 0, fitted, scales))
    _sweep(weights, values, scales, moments, most)
    return Integers(values, scales)


def _sweep(weights: Array, values: Array, scales: Array, moments: Array, most: float) -> None:
    """Give each integer in turn the best value, all others being as they are."""
    errors = weights - values * scales[:, None]
    for start in range(0, weights.shape[1], _BLOCK):
        stop = min(start + _BLOCK, weights.shape[1])
        gradient = errors @ moments[:, start:stop]
        for at in range(start, stop):
            wanted = values[:, at] + gradient[:, at - start] / (moments[at, at] * scales)
            step = np.clip(np.rint(wanted), -most, most) - values[:, at]
            values[:, at] += step
            change = step * scales
            errors[:, at] -= change
            gradient -= np.outer(change, moments[at, start:stop])


def _float32(scales: Array) -> Array:
    """The scales as a file holds them."""
    return np.maximum(scales, 1e-12).astype(np.float32).astype(np.float64)
