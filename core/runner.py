"""Runners: the one interface of everything that computes a signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from .batches import batch_for, chunks
from .errors import ArgumentError, SamplesError, no_such
from .samples import content_hash
from .signature import DEFAULT_SIGNATURE, Array, Arrays, Shape, Signature


class Runner(Protocol):
    """Runs a Keras model, a SavedModel, a .tflite, a served model or recorded outputs."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The signatures that can be run, by name."""

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        """Run one call: from arrays by input name to arrays by output name."""

    def close(self) -> None:
        """Release the runner's resources; it is not used afterwards."""


class RecordedRunner:
    """Returns outputs that were recorded elsewhere: in a child process, on another machine, or in a file.

    Args:
        signatures: The recorded signatures, with a free batch.
    """

    def __init__(self, signatures: Mapping[str, Signature]) -> None:
        self.signatures = signatures
        self._outputs: dict[tuple[str, str], Arrays] = {}

    def record(self, inputs: Arrays, signature: str, outputs: Arrays) -> None:
        """Keep the outputs for these inputs."""
        self._outputs[signature, content_hash(inputs)] = outputs

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        find_signature(self.signatures, signature)
        key = signature, content_hash(inputs)
        if key not in self._outputs:
            raise SamplesError(f"no outputs of signature {signature!r} were recorded for these inputs")
        return self._outputs[key]

    def close(self) -> None:
        """Nothing to free."""


def find_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    """The signature of that name, or an ArgumentError that lists the valid ones."""
    if name not in signatures:
        raise ArgumentError(no_such("signature", name, sorted(signatures)))
    return signatures[name]


def batched(
    runner: Runner, inputs: Arrays, *, signature: str = DEFAULT_SIGNATURE, batch_size: int | None = None
) -> Arrays:
    """Run any number of samples through a runner, in batches that it takes.

    Args:
        runner: Any Runner. If its batch is fixed, the last batch is filled up by repeating the last sample, and the
            outputs for these repetitions are dropped.
        inputs: Arrays `[n, ...]` by input name, all of the same `n >= 1`. The inputs of a signature without a batch
            go in one call, or sample by sample if a scalar, too, is given as `[n]`.
        signature: The signature to run.
        batch_size: The largest batch if the runner's batch is free; if None, as many as memory should hold
            (`batch_for`).

    Returns:
        Arrays `[n, ...]` by output name. Outputs without a batch are returned whole; they must be the same for every
        part of the samples.

    Raises:
        ArgumentError: for an unknown signature, no samples, or unequal sample counts.
        SamplesError: if an output without a batch differs from part to part, or samples do not fill a fixed batch.

    Example:
        A runner that takes two samples at a time:

        >>> import numpy as np
        >>> from attnexport.core import Signature, TensorSpec
        >>> class Double:
        ...     x, y = TensorSpec("x", "float32", (2, 1)), TensorSpec("y", "float32", (2, 1))
        ...     signatures = {"serving_default": Signature("serving_default", (x,), (y,))}
        ...     def run(self, inputs, signature="serving_default"):
        ...         return {"y": 2 * inputs["x"]}
        >>> batched(Double(), {"x": np.ones((5, 1), np.float32)})["y"].shape
        (5, 1)
    """
    spec = find_signature(runner.signatures, signature)
    scalars = [each.name for each in spec.inputs if each.shape == ()]
    varied = [name for name in scalars if name in inputs and inputs[name].ndim]
    if (not spec.is_batched and not varied) or (scalars and isinstance(runner, RecordedRunner)):
        return runner.run(inputs, signature)  # what was recorded was so of all samples
    fixed = spec.fixed_batch
    counts = {name: len(array) for name, array in inputs.items()}
    if not counts or len(set(counts.values())) > 1 or not min(counts.values()):
        raise ArgumentError(f"inputs must hold the same number of samples, at least one; received {counts}")
    n = next(iter(counts.values()))
    rows = fixed or (1 if scalars else batch_size)
    if rows is None:
        rows = n if isinstance(runner, RecordedRunner) else batch_for(inputs)
    parts = [(runner.run(chunk, signature), count) for chunk, count in _chunks(inputs, scalars, fixed, rows)]
    if len(parts) == 1 and parts[0][1] == rows:
        return parts[0][0]
    shapes = {each.name: each.shape for each in spec.outputs}
    return {
        name: _joined(
            f"output {name!r} of {signature!r}",
            shapes.get(name),
            [(part[name], count, count if fixed is None else fixed) for part, count in parts],
        )
        for name in parts[0][0]
    }


def _chunks(inputs: Arrays, scalars: Sequence[str], fixed: int | None, batch_size: int) -> Iterator[tuple[Arrays, int]]:
    """Chunks that a runner takes, with the number of samples in each; one sample each if there are scalars."""
    if not scalars:
        yield from chunks(inputs, fixed or batch_size, fill=fixed is not None)
        return
    for index in range(len(inputs[scalars[0]])):
        sample = {name: array[index : index + 1] for name, array in inputs.items()}
        [(chunk, _)] = chunks(sample, fixed or 1, fill=fixed is not None)
        yield {name: array.reshape(-1)[0] if name in scalars else array for name, array in chunk.items()}, 1


def _joined(what: str, shape: Shape | None, parts: Sequence[tuple[Array, int, int]]) -> Array:
    """An output of several parts: each with its number of samples, and of rows, those that fill it up included."""
    sizes = {rows for _, _, rows in parts}
    may_be_batch = shape is None or shape[:1] == (None,) or (bool(shape) and {shape[0]} == sizes)
    if may_be_batch and all(part.shape[:1] == (rows,) for part, _, rows in parts):
        return np.concatenate([part[:count] for part, count, _ in parts])
    first = parts[0][0]
    if any(count != rows for _, count, rows in parts):
        raise SamplesError(
            f"{what} has shape {list(first.shape)} for a batch of {parts[0][2]}, which cannot be cut into samples: "
            f"send a multiple of {parts[0][2]} samples"
        )
    if not all(part.dtype == first.dtype and np.array_equal(part, first, equal_nan=first.dtype.kind in "fc")
               for part, _, _ in parts):  # fmt: skip
        raise SamplesError(
            f"{what} has shape {list(first.shape)} and differs from part to part, so the parts cannot be joined; run "
            f"{parts[0][2]} samples at a time"
        )
    return first
