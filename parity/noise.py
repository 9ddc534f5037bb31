"""How much the reference itself moves, which sets the least error that a correct artifact may show."""

from __future__ import annotations

import numpy as np

from attnexport.core.runner import Runner
from attnexport.core.signature import Array, Arrays

from .metrics import distance
from .running import run_for_comparison


class Noise:
    """The reference's own change if its float inputs move by one float32 ulp, and if they do not move at all.

    Both are measured when they are first needed. A reference that changes for the same inputs is random or keeps
    state: nothing can be compared with it.
    """

    def __init__(self, reference: Runner, inputs: Arrays, signature: str, outputs: Arrays) -> None:
        self._reference, self._inputs, self._signature, self._outputs = reference, inputs, signature, outputs
        self._moved: Arrays | None = None
        self._again: Arrays | None = None

    def of(self, output: str) -> float:
        """The greatest change of an output if the inputs move by one ulp, in the output's unit."""
        change = distance(*self.moved(output)).max_error
        return change if np.isfinite(change) else 0.0

    def moved(self, output: str) -> tuple[Array, Array]:
        """An output, and what it is if the inputs move by one ulp."""
        if self._moved is None:
            moved = {name: _nudge(array) for name, array in self._inputs.items()}
            self._moved = run_for_comparison(self._reference, moved, signature=self._signature)
        return self._outputs[output], self._moved[output]

    def unmoved(self, output: str) -> float:
        """The greatest change of an output for the same inputs, in the output's unit."""
        if self._again is None:
            self._again = run_for_comparison(self._reference, self._inputs, signature=self._signature)
        return distance(self._outputs[output], self._again[output]).max_error


def _nudge(array: Array) -> Array:
    """Each float moved to a neighbour in float32, up and down in turn, so that the moves do not cancel as a shift."""
    if array.dtype.kind != "f":
        return array
    values = array.astype(np.float32).reshape(-1)
    towards = np.where(np.arange(values.size) % 2, np.float32(np.inf), np.float32(-np.inf))
    return np.nextafter(values, towards).reshape(array.shape).astype(array.dtype)
