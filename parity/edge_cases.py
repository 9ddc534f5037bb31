"""Inputs that are rare in datasets, and that exports go wrong on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attnexport.core.samples import synthetic_samples
from attnexport.core.signature import Array, Arrays, Signature, TensorSpec

_LARGE, _TINY = 1e4, 1e-4
_ODD_BATCH = 5
_SHORTEST, _LONGEST = 1, 64  # of free steps


def edge_cases(
    signature: Signature, *, integers_below: int | None = None, steps: int = 8
) -> Iterator[tuple[str, Arrays]]:
    """The edge cases of a signature: the name and the inputs of each.

    Zeros, ones, large and tiny magnitudes (the largest value of integers), one-hot steps, a single step that is not
    zero, a batch of one and an odd batch; if steps are free, also the shortest and a long sequence.

    Args:
        signature: The signature, its batch free or fixed.
        integers_below: Integers must be less than this.
        steps: Size of free steps, in all cases but the shortest and the longest.

    Example:
        >>> from attnexport.core import TensorSpec
        >>> tokens = TensorSpec("tokens", "int32", (None, 4))
        >>> [name for name, _ in edge_cases(Signature("serving_default", (tokens,), (tokens,)), integers_below=9)]
        ['zeros', 'ones', 'large', 'batch of 1', 'batch of 5']
    """
    if not signature.is_batched:
        return
    specs = signature.inputs

    def samples(n: int, seed: int, free_size: int = steps) -> Arrays:
        made = synthetic_samples(specs, n, seed=seed, integers_below=integers_below, free_size=free_size)
        return made.inputs

    plain = samples(2, seed=11)
    yield "zeros", {name: np.zeros_like(array) for name, array in plain.items()}
    yield "ones", {name: np.ones_like(array) for name, array in plain.items()}
    if integers_below is not None or any(spec.is_float for spec in specs):
        yield "large", {spec.name: _large(spec, plain[spec.name], integers_below) for spec in specs}
    if any(spec.is_float for spec in specs):
        yield "tiny", {spec.name: _scaled(spec, plain[spec.name], _TINY) for spec in specs}
        yield "one-hot steps", {spec.name: _one_hot(spec, plain[spec.name]) for spec in specs}
        yield "one step", {spec.name: _one_step(spec, plain[spec.name]) for spec in specs}
    yield "batch of 1", samples(1, seed=12)
    yield f"batch of {_ODD_BATCH}", samples(_ODD_BATCH, seed=13)
    if any(spec.shape and None in spec.shape[1:] for spec in specs):
        yield f"{_SHORTEST} step", samples(2, seed=14, free_size=_SHORTEST)
        yield f"{_LONGEST} steps", samples(2, seed=15, free_size=_LONGEST)


def _large(spec: TensorSpec, array: Array, integers_below: int | None) -> Array:
    if spec.is_integer and integers_below is not None:
        return np.full_like(array, integers_below - 1)
    return _scaled(spec, array, _LARGE)


def _scaled(spec: TensorSpec, array: Array, factor: float) -> Array:
    return (array * factor).astype(array.dtype) if spec.is_float else array


def _one_hot(spec: TensorSpec, array: Array) -> Array:
    """A one among zeros in each step, or in each sample without steps; the next step has it in the next place."""
    if not spec.is_float or array.ndim < 2:
        return array
    hot = np.zeros_like(array).reshape(-1, array.shape[-1])
    rows = np.arange(len(hot))
    hot[rows, rows % array.shape[-1]] = 1
    return hot.reshape(array.shape)


def _one_step(spec: TensorSpec, array: Array) -> Array:
    """Zeros, except for the first step."""
    if not spec.is_float or array.ndim < 3:
        return array
    alone = np.zeros_like(array)
    alone[:, 0] = array[:, 0]
    return alone
