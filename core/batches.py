"""Batches: samples cut into the sizes that a model takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .limits import check_memory
from .signature import Array, Arrays

_MOST_PAIRS = 1 << 25  # of steps at once, for each head
_MOST_VALUES = 1 << 24  # of an input at once


def fill_batch(inputs: Arrays, size: int) -> Arrays:
    """Fill samples up to whole batches, by repeating the last one.

    Args:
        inputs: Arrays `[n, ...]` by input name, all of the same `n >= 1`.
        size: The size of a batch.

    Returns:
        Arrays `[m, ...]` by input name, `m` being the least multiple of `size` that holds `n`. If nothing is missing,
        these are the arrays themselves.

    Example:
        >>> import numpy as np
        >>> fill_batch({"x": np.array([1, 2, 3])}, 2)["x"].tolist()
        [1, 2, 3, 3]
    """
    return {name: fill_rows(array, size) for name, array in inputs.items()}


def fill_rows(array: Array, size: int) -> Array:
    """As `fill_batch`, for one array `[n, ...]`."""
    missing = -len(array) % size
    check_memory(missing * array[-1:].nbytes, f"filling {len(array):,} samples up to the batch of {size:,}")
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


def chunks(inputs: Arrays, size: int, *, fill: bool) -> Iterator[tuple[Arrays, int]]:
    """Cut samples into batches.

    Args:
        inputs: Arrays `[n, ...]` by input name, all of the same `n >= 1`.
        size: Samples in a batch.
        fill: Whether the last batch is filled up to `size`.

    Yields:
        Each batch, and how many of its samples are from `inputs`: the rest fills it up.

    Example:
        >>> import numpy as np
        >>> [(part["x"].tolist(), count) for part, count in chunks({"x": np.array([1, 2, 3])}, 2, fill=True)]
        [([1, 2], 2), ([3, 3], 1)]
    """
    total = len(next(iter(inputs.values())))
    for start in range(0, total, size):
        part = {name: array[start : start + size] for name, array in inputs.items()}
        yield fill_batch(part, size) if fill else part, min(size, total - start)


def batch_for(inputs: Arrays) -> int:
    """The samples of a call to a model of free batch: all, or as many as memory should hold at once.

    Attention over long sequences keeps numbers for all pairs of steps, and layers keep several times a large input.

    Args:
        inputs: Arrays `[n, ...]` by input name. Sequences are `[n, steps, ...]`, and tokens `[n, steps]`.

    Example:
        >>> batch_for({"x": np.zeros((160, 128, 8), np.float32)})
        160
        >>> batch_for({"tokens": np.zeros((160, 4096), np.int32)})
        2
    """
    steps = [each.shape[1] for each in inputs.values() if each.ndim > 2 or (each.ndim > 1 and each.dtype.kind in "iu")]
    values = max(each[:1].size for each in inputs.values())
    most = min(_MOST_PAIRS // max(steps, default=1) ** 2, _MOST_VALUES // max(values, 1))
    return min(max(1, most), max(map(len, inputs.values())))
