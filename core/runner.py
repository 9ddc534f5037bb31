"""Runners: the one interface of everything that computes a signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from .batches import chunks
from .errors import ArgumentError, SamplesError, no_such
from .samples import content_hash
from .signature import DEFAULT_SIGNATURE, Arrays, Signature


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
        inputs: Arrays `[n, ...]` by input name, all of the same `n >= 1`. A signature with a scalar has no batch: its
            inputs go in one call, or sample by sample if the scalar, too, is given as `[n]`.
        signature: The signature to run.
        batch_size: The largest batch if the runner's batch is free; None runs all samples in one call.

    Returns:
        Arrays `[n, ...]` by output name.

    Raises:
        ArgumentError: for an unknown signature, no samples, or unequal sample counts.

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
    parts = []
    for chunk, size in _chunks(inputs, scalars, fixed, batch_size or n):
        parts.append({name: output[:size] for name, output in runner.run(chunk, signature).items()})
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chunks(inputs: Arrays, scalars: Sequence[str], fixed: int | None, batch_size: int) -> Iterator[tuple[Arrays, int]]:
    """Chunks that a runner takes, with the number of samples in each; one sample each if there are scalars."""
    if not scalars:
        yield from chunks(inputs, fixed or batch_size, fill=fixed is not None)
        return
    for index in range(len(inputs[scalars[0]])):
        sample = {name: array[index : index + 1] for name, array in inputs.items()}
        [(chunk, _)] = chunks(sample, fixed or 1, fill=fixed is not None)
        yield {name: array.reshape(-1)[0] if name in scalars else array for name, array in chunk.items()}, 1
