"""Tracers: what a model computes on its way, tensor by tensor."""

from __future__ import annotations

from typing import Protocol

from .signature import Arrays


class Tracer(Protocol):
    """Shows the tensors inside a model; as a Runner shows its outputs."""

    def trace(self, inputs: Arrays) -> Arrays:
        """Every tensor that the model computes on `inputs [n, ...]`, by name, in the order of computation."""
        ...

    def close(self) -> None: ...
