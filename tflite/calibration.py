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

FEW = 32  # distinct samples below which ranges are a guess
MOST = 4000  # distinct samples that are looked at; more cost time and change nothing
_EVERY = 5

CalibrationSource = str | os.PathLike[str] | Mapping[str, Any] | np.ndarray[Any, Any] | Iterable[Any]


@dataclass(frozen=True)
class Calibration:
    """Samples to calibrate with, and samples held out from that to measure on.

    Attributes:
        used: Arrays `[n, ...]` by input name.
        held_out: As `used`; the same samples where there are too few to hold any out.
        content_hash: Of all of them, whatever their order and repetition.
        told: What `held_out` are, for messages.
        given: Whether somebody gave them, and they were not made up.
        notes: What their owner should know, a sentence each.
    """

    used: Arrays
    held_out: Arrays
    content_hash: str
    told: str = "held-out samples"
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
        specs: The inputs to be fed.
        aliases: Other names that an input may go by, to its exported name.

    Raises:
        ArgumentError: where the path does not exist.
        SamplesError: where the samples do not fit.
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
        raise SamplesError("samples: the iterable gave no batch")
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
    """Deduplicate samples, order them by content and hold every fifth out.

    Args:
        samples: What `read_calibration` gave.
        specs: The inputs.
        evaluation: Samples that the model is to be judged on, which must not be among those it is calibrated with.
        made_up: Whether nobody gave them.

    Raises:
        SamplesError: where every float input is constant.
    """
    hashes = _hashes(samples.inputs)
    order = sorted({each: index for index, each in reversed(list(enumerate(hashes)))}.items())
    kept = [index for _, index in order][:MOST]
    notes = list(samples.notes)
    if len(order) > MOST:
        notes.append(f"calibration uses {MOST} of {len(order)} distinct samples, chosen by their content")
    arrays = {name: np.ascontiguousarray(array[kept]) for name, array in samples.inputs.items()}
    floats = [spec.name for spec in specs if spec.is_float and arrays[spec.name].size > 1]
    constant = [name for name in floats if arrays[name].min() == arrays[name].max()]
    if constant:
        told = f"{constant[0]!r} is {arrays[constant[0]].flat[0]} throughout"
        if len(constant) == len(floats):
            raise SamplesError(f"calibration: {told}, which says nothing about its range")
        notes.append(f"calibration: {told}")
    if len(kept) < FEW:
        notes.append(f"calibration has only {len(kept)} distinct samples; {FEW} and more give ranges to rely on")
    if evaluation is not None:
        shared = len(set(hashes) & set(_hashes(evaluation.inputs)))
        if shared:
            notes.append(
                f"{shared} of {len(evaluation)} evaluation samples are among the calibration samples: "
                "figures measured on them flatter"
            )
    positions = np.arange(len(kept))
    held_out = positions % _EVERY == _EVERY - 1
    told = "made-up samples" if made_up else "samples"
    if not held_out.any():
        return Calibration(
            arrays, arrays, content_hash(arrays), f"{told}, calibrated with as well", not made_up, tuple(notes)
        )
    used, apart = ({name: array[mask] for name, array in arrays.items()} for mask in (~held_out, held_out))
    return Calibration(used, apart, content_hash(arrays), f"held-out {told}", not made_up, tuple(notes))


def without_shared(evaluation: Samples, calibration: Samples) -> Samples:
    """The evaluation samples that are not among the calibration samples, with a note on those that were.

    Raises:
        SamplesError: where there are none.
    """
    known = set(_hashes(calibration.inputs))
    apart = np.array([each not in known for each in _hashes(evaluation.inputs)])
    if apart.all():
        return evaluation
    if not apart.any():
        raise SamplesError(
            "all evaluation samples are among the calibration samples, and what is chosen by them would be worth "
            "little; give samples that the model was not calibrated with"
        )
    labels = None if evaluation.labels is None else evaluation.labels[apart]
    told = f"{(~apart).sum()} of {len(apart)} evaluation samples are among the calibration samples, and were left out"
    inputs = {name: array[apart] for name, array in evaluation.inputs.items()}
    return Samples(inputs, labels, (*evaluation.notes, told))


def _hashes(inputs: Arrays) -> list[bytes]:
    """A hash of each sample's values over all inputs."""
    names = sorted(inputs)
    count = len(inputs[names[0]])
    return [
        hashlib.sha256(b"\0".join(np.ascontiguousarray(inputs[name][index]).tobytes() for name in names)).digest()
        for index in range(count)
    ]
