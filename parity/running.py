"""What a Runner gives, as numbers that can be compared."""

from __future__ import annotations

import numpy as np

from attnexport.core.runner import Runner, batched
from attnexport.core.signature import DEFAULT_SIGNATURE, Array, Arrays


def run_for_comparison(runner: Runner, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
    """A Runner's outputs; complex numbers as pairs of real ones, which are held to a budget of error."""
    return comparable(batched(runner, inputs, signature=signature))


def comparable(outputs: Arrays) -> Arrays:
    """Outputs, with an axis of real and imaginary parts behind those of complex numbers.

    Example:
        >>> comparable({"y": np.array([1 + 2j], np.complex64)})["y"].tolist()
        [[1.0, 2.0]]
    """
    return {name: _pairs(array) if array.dtype.kind == "c" else array for name, array in outputs.items()}


def _pairs(array: Array) -> Array:
    return np.stack([array.real, array.imag], axis=-1)
