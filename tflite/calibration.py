"""Calibration data: checked, deduplicated, ordered by content, with every fifth sample held out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core.errors import ArgumentError, SamplesError
from attnexport.core.samples import Samples, content_hash, load_samples
from attnexport.core.signature import Arrays, TensorSpec

MIN_SAMPLES = 32  # distinct samples below which ranges are a guess
MAX_SAMPLES = 4000  # distinct samples that are used; more cost time and change nothing
_HOLD_OUT_EVERY = 5

CalibrationSource = str | os.PathLike[str] | Mapping[str, Any] | np.ndarray[Any, Any] | Iterable[Any]


@dataclass(frozen=True)
class Calibration:
    """Samples to calibrate with, and held-out samples to measure on.

    Attributes:
        used: Arrays `[n, ...]` by input name.
        held_out: Arrays like `used`; the same samples if there are too few to hold any out.
        content_hash: Hash of all samples, whatever their order and repetition.
        description: What `held_out` is, for messages.
        given: Whether the samples are the user's, not synthetic.
        notes: What the user should know, a sentence each.
    """

    used: Arrays
    held_out: Arrays
    content_hash: str
    description: str = "held-out samples"
    given: bool = True
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.used.values())))


def read_calibration(
    source: CalibrationSource, specs: Sequence[TensorSpec], aliases: Mapping[str, str] | None = None
) -> Samples:
    """Read and check calibration samples.

    Args:
        source: A path or arrays, as `core.load_samples` takes them, or an iterable of batches: arrays `[n, ...]`, or
            dicts of them.
        specs: The model's inputs.
        aliases: Other names of inputs, such as Keras's, to their exported names.

    Raises:
        ArgumentError: if the path does not exist.
        SamplesError: if the samples do not fit.

    Example:
        >>> batches = ({"x": np.full((4, 3), number, np.float32)} for number in range(2))
        >>> len(read_calibration(batches, [TensorSpec("x", "float32", (None, 3))]))
        8
    """
    if isinstance(source, str | os.PathLike):
        return load_samples(Path(source), specs, aliases)
    if isinstance(source, Mapping | np.ndarray):
        return load_samples(source, specs, aliases)
    if not isinstance(source, Iterable):
        raise ArgumentError(
            f"calibration is a path, arrays by input name or an iterable of batches; received {type(source).__name__}"
        )
    batches = [each if isinstance(each, Mapping) else {"": np.asarray(each)} for each in source]
    if not batches:
        raise SamplesError("samples: the iterable yields no batch")
    if any(batch.keys() != batches[0].keys() for batch in batches):
        raise SamplesError("samples: the batches of the iterable have different names")
    try:
        joined = {name: np.concatenate([np.asarray(batch[name]) for batch in batches]) for name in batches[0]}
    except ValueError as error:
        raise SamplesError(f"samples: the batches of the iterable do not fit together: {error}") from error
    return load_samples(joined[""] if joined.keys() == {""} else joined, specs, aliases)


def prepare_calibration(
    samples: Samples, specs: Sequence[TensorSpec], evaluation: Samples | None = None, *, made_up: bool = False
) -> Calibration:
    """Remove repeated samples, order them by content and hold every fifth out.

    Args:
        samples: Samples as `read_calibration` returns them.
        specs: The model's inputs.
        evaluation: Samples the model is evaluated on. A note says how many of them are among `samples`.
        made_up: Whether the samples are generated, not the user's.

    Raises:
        SamplesError: if every float input is constant.

    Example:
        >>> values = np.linspace(-1, 1, 300, dtype=np.float32).reshape(100, 3)
        >>> calibration = prepare_calibration(Samples({"x": values}), [TensorSpec("x", "float32", (None, 3))])
        >>> len(calibration), len(calibration.held_out["x"]), calibration.description
        (80, 20, 'held-out samples')
    """
    hashes = _hashes(samples.inputs)
    first_by_hash = {each: index for index, each in reversed(list(enumerate(hashes)))}
    order = sorted(first_by_hash.items())
    kept = [index for _, index in order][:MAX_SAMPLES]
    notes = list(samples.notes)
    if len(order) > MAX_SAMPLES:
        notes.append(f"calibration uses {MAX_SAMPLES} of {len(order)} distinct samples, chosen by their content")
    arrays = {name: np.ascontiguousarray(array[kept]) for name, array in samples.inputs.items()}
    floats = [spec.name for spec in specs if spec.is_float and arrays[spec.name].size > 1]
    constant = [name for name in floats if arrays[name].min() == arrays[name].max()]
    if constant:
        finding = f"{constant[0]!r} is {arrays[constant[0]].flat[0]} throughout"
        if len(constant) == len(floats):
            raise SamplesError(f"calibration: {finding}, which says nothing about its range")
        notes.append(f"calibration: {finding}")
    if len(kept) < MIN_SAMPLES:
        notes.append(
            f"calibration has only {len(kept)} distinct samples; {MIN_SAMPLES} and more give ranges to rely on"
        )
    if evaluation is not None:
        shared = len(set(hashes) & set(_hashes(evaluation.inputs)))
        if shared:
            notes.append(
                f"{shared} of {len(evaluation)} evaluation samples are among the calibration samples: "
                "figures measured on them flatter"
            )
    positions = np.arange(len(kept))
    held_out = positions % _HOLD_OUT_EVERY == _HOLD_OUT_EVERY - 1
    kind = "synthetic samples" if made_up else "samples"
    if not held_out.any():
        return Calibration(
            arrays, arrays, content_hash(arrays), f"{kind}, also used to calibrate", not made_up, tuple(notes)
        )
    used, kept_out = ({name: array[mask] for name, array in arrays.items()} for mask in (~held_out, held_out))
    return Calibration(used, kept_out, content_hash(arrays), f"held-out {kind}", not made_up, tuple(notes))


def without_shared(evaluation: Samples, calibration: Samples) -> Samples:
    """The evaluation samples that are not among the calibration samples, with a note on those that were.

    Args:
        evaluation: Samples the model is evaluated on.
        calibration: Samples it is calibrated with.

    Raises:
        SamplesError: if all of them are.

    Example:
        >>> samples = Samples({"x": np.arange(4, dtype=np.float32)})
        >>> without_shared(samples, samples.take(1)).notes
        ('1 of 4 evaluation samples are among the calibration samples, and were left out',)
    """
    known = set(_hashes(calibration.inputs))
    distinct = np.array([each not in known for each in _hashes(evaluation.inputs)])
    if distinct.all():
        return evaluation
    if not distinct.any():
        raise SamplesError(
            "all evaluation samples are among the calibration samples; give samples the model was not calibrated with"
        )
    labels = None if evaluation.labels is None else evaluation.labels[distinct]
    count = f"{(~distinct).sum()} of {len(distinct)} evaluation samples"
    note = f"{count} are among the calibration samples, and were left out"
    inputs = {name: array[distinct] for name, array in evaluation.inputs.items()}
    return Samples(inputs, labels, (*evaluation.notes, note))


def _hashes(inputs: Arrays) -> list[bytes]:
    """A hash of each sample's values over all inputs."""
    names = sorted(inputs)
    count = len(inputs[names[0]])
    return [
        hashlib.sha256(b"\0".join(np.ascontiguousarray(inputs[name][index]).tobytes() for name in names)).digest()
        for index in range(count)
    ]
