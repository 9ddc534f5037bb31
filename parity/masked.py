"""Masked values: the large negative numbers that a model writes at choices that are forbidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnexport.core.signature import Array

GREATEST = -1e3  # of a masked value
_ALIKE = 5e-3  # relative width of a group of masked values: a mask of -1e4 is added to scores
_GROUPS = 4  # two masks that are added make three groups
_GAP = 10.0  # the least masked value is this many times as far from 0 as any other negative one


@dataclass(frozen=True)
class Mask:
    """Which values of an output are masked.

    Attributes:
        below: Masked values are below this number, and no others.
        ordinary: Columns, `[columns]`, that are far below zero altogether and vary: they are not masked.
    """

    below: float
    ordinary: Array

    def of(self, values: Array) -> Array:
        """Where values `[n, ..., columns]` are masked."""
        return (values < self.below) & ~self.ordinary


def find_mask(values: Array) -> Mask | None:
    """Which values are masked; None if none are.

    Masked values are -1e3 or less, lie in a few narrow groups, and are at least ten times as far from zero as every
    other negative value.

    Args:
        values: The original's output, `[n, ..., columns]`.

    Example:
        >>> scores = np.array([[0.5, -1e9, -2.0], [-1e9, 0.25, 3.0]])
        >>> mask = find_mask(scores)
        >>> int(mask.of(scores).sum()), find_mask(scores / 1e9) is None
        (2, True)
    """
    finite = values[np.isfinite(values)]
    low = np.unique(finite[finite <= GREATEST])
    others = finite[finite > GREATEST]
    if not low.size or not others.size:
        return None
    if low[-1] > _GAP * min(float(others.min()), 0.0) or not _is_in_groups(low):
        return None
    rows = values.reshape(-1, values.shape[-1])
    with np.errstate(invalid="ignore"):
        ordinary = (rows <= low[-1]).all(axis=0) & (np.ptp(rows, axis=0) > 0)
    return Mask(float(low[-1]) / 3, ordinary)


def masked_in_half(expected: Array, actual: Array) -> Array:
    """What half precision gives, with the original's value where that is masked and float16 ends before it.

    Example:
        >>> scores, half = np.array([[0.5, -1e9], [0.25, 3.0]]), np.array([[0.5, -np.inf], [0.25, 3.0]])
        >>> bool((masked_in_half(scores, half) == scores).all())
        True
    """
    mask = find_mask(expected) if expected.ndim and expected.min(initial=0.0) <= GREATEST else None
    if mask is None:
        return actual
    return np.where(mask.of(expected) & (actual <= np.finfo(np.float16).min), expected, actual)


def _is_in_groups(ordered: Array) -> bool:
    """Whether sorted negative values lie in few groups that are each narrow."""
    starts = np.flatnonzero(np.diff(ordered) > _ALIKE * -ordered[:-1]) + 1
    groups = np.split(ordered, starts)
    return len(groups) <= _GROUPS and all(group[-1] - group[0] <= _ALIKE * -group[0] for group in groups)
