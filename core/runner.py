"""Runners: whatever can compute a signature, seen in one way only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from .batches import chunks
from .errors import ArgumentError, SamplesError, no_such
from .samples import content_hash
from .signature import DEFAULT_SIGNATURE, Arrays, Signature


class Runner(Protocol):
    """A Keras model, a SavedModel, a .tflite, a server or a file of recorded outputs."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What can be run, by name."""

    def run(self, inputs: Arrays, signature: str = DEFAULT_SIGNATURE) -> Arrays:
        """One call: arrays by input name in, arrays by output name out."""

    def close(self) -> None:
        """Free what the runner holds; it is not used afterwards."""


class RecordedRunner:
    """Answers from outputs that were recorded elsewhere: in a child process, on another machine, or in a file.

    Args:
        signatures: What was recorded, with a free batch.
    """

    def __init__(self, signatures: Mapping[str, Signature]) -> None:
        self.signatures = signatures
        self._outputs: dict[tuple[str, str], Arrays] = {}

    def record(self, inputs: Arrays, signature: str, outputs: Arrays) -> None:
        """Remember the answer to these inputs."""
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
    """The signature of that name, or an ArgumentError that lists the ones there are."""
    if name not in signatures:
        raise ArgumentError(no_such("signature", name, sorted(signatures)))
    return signatures[name]


def batched(
    runner: Runner, inputs: Arrays, *, signature: str = DEFAULT_SIGNATURE, batch_size: int | None = None
) -> Arrays:
    """Run any number of samples through a runner, in the batches that it takes.

    Args:
        runner: Any Runner. One of fixed batch gets chunks of that size, the last one filled up by
            repeating its last sample, and the filling is cut off again.
        inputs: Arrays `[n, ...]` by input name, all of the same `n >= 1`. Where the signature has a scalar, there is
            no batch, and all goes in one call.
        signature: The signature to run.
        batch_size: The largest batch for a runner of free batch; all at once where None.

    Returns:
        Arrays `[n, ...]` by output name.

    Raises:
        ArgumentError: for an unknown signature, no samples, or unequal sample counts.
    """
    found = find_signature(runner.signatures, signature)
    if not found.is_batched:
        return runner.run(inputs, signature)
    fixed = found.fixed_batch
    counts = {name: len(array) for name, array in inputs.items()}
    if not counts or len(set(counts.values())) > 1 or not min(counts.values()):
        raise ArgumentError(f"inputs must hold the same number of samples, at least one; received {counts}")
    n = next(iter(counts.values()))
    parts = [
        {name: output[:size] for name, output in runner.run(chunk, signature).items()}
        for chunk, size in chunks(inputs, fixed or batch_size or n, fill=fixed is not None)
    ]
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
