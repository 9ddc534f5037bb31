"""Tracers: what a model computes on its way, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from .batches import chunks
from .signature import Arrays


class Tracer(Protocol):
    """Shows the tensors inside a model; as a Runner shows its outputs."""

    def trace(self, inputs: Arrays) -> Arrays:
        """Every tensor that the model computes on `inputs [n, ...]`, by name, in the order of computation."""
        ...

    def close(self) -> None: ...


def trace_batched(trace: Callable[[Arrays], Arrays], inputs: Arrays, batch: int | None) -> Arrays:
    """What one call shows at a time, for all samples.

    Args:
        trace: One call: arrays by input name in, every tensor by name out.
        inputs: Arrays `[n, ...]` by input name.
        batch: The batch that a call takes; any where None.

    Returns:
        Arrays `[n, ...]` by name; tensors of merged dimensions (`[batch * steps, features]`) are taken apart as
        `[n, elements]`, and those that hold nothing of each sample are left out.
    """
    n = len(next(iter(inputs.values())))
    parts = [
        {name: array[:kept] for name, array in _by_sample(trace(chunk), batch or n).items()}
        for chunk, kept in chunks(inputs, batch or n, fill=batch is not None)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _by_sample(tensors: Arrays, batch: int) -> Arrays:
    led = {name: array for name, array in tensors.items() if array.ndim and array.size and len(array) % batch == 0}
    return {name: array if len(array) == batch else array.reshape(batch, -1) for name, array in led.items()}
