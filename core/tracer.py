"""Tracers: every tensor inside a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from .batches import chunks
from .signature import Arrays


class Tracer(Protocol):
    """Gives the tensors inside a model, as a Runner gives its outputs."""

    def trace(self, inputs: Arrays) -> Arrays:
        """Every tensor that the model computes on `inputs [n, ...]`, by name, in the order of computation."""
        ...

    def close(self) -> None: ...


def trace_batched(trace: Callable[[Arrays], Arrays], inputs: Arrays, batch: int | None) -> Arrays:
    """Trace any number of samples, in batches that the model takes.

    Args:
        trace: Traces one batch: from arrays by input name to every tensor by name.
        inputs: Arrays `[n, ...]` by input name.
        batch: The size of a batch; None traces all samples in one call.

    Returns:
        Arrays `[n, ...]` by name. Tensors of merged dimensions (`[batch * steps, features]`) become `[n, elements]`;
        those without a part per sample are left out.
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
