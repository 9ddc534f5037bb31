"""Calibration data: checked, deduplicated, ordered by content, with every fifth sample held out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core.errors import ArgumentError, SamplesError
from attnexport.core.samples import Samples, content_hash, load_samples
from attnexport.core.signature import Array, Arrays, TensorSpec

MIN_SAMPLES = 32  # distinct samples below which ranges are a guess
_ENOUGH_SAMPLES = 200  # distinct samples, of which few later ones exceed the ranges
MAX_SAMPLES = 4000  # distinct samples that are used; more cost time and change nothing
_HOLD_OUT_EVERY = 5

CalibrationSource = (
    str | os.PathLike[str] | Mapping[str, Any] | np.ndarray[Any, Any] | Iterable[Any] | Callable[[], Iterable[Any]]
)


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

    @property
    def held_out_count(self) -> int:
        """Number of samples in `held_out`."""
        return len(next(iter(self.held_out.values())))

    def doubts(self, recipe: str) -> list[str]:
        """What the verdict of a calibrated file does not show, if the user's samples are few."""
        judged = self.held_out_count
        if not self.given or not MIN_SAMPLES <= len(self) + judged < _ENOUGH_SAMPLES:
            return []
        # Of n + 1 samples, each is as likely as another to be the one with the greatest value.
        return [
            f"{recipe}: ranges come from {len(self)} samples and the verdict from {judged}. About 1 in {len(self) + 1} "
            "later samples will exceed the range of a tensor and be clipped there, which so few samples may not show; "
            f"give at least {_ENOUGH_SAMPLES}"
        ]


def read_calibration(
    source: CalibrationSource, specs: Sequence[TensorSpec], aliases: Mapping[str, str] | None = None
) -> Samples:
    """Read and check calibration samples.

    Args:
        source: A path or arrays, as `core.load_samples` takes them; an iterable of batches, such as a
            `tf.data.Dataset`, or a function that returns one. A batch is an array `[n, ...]` or a single sample, a
            dict of them, a list with one for each input, as TFLiteConverter's representative dataset yields it, or
            a pair or triple of inputs, labels and weights, as `fit` takes it.
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
    if callable(source) and not isinstance(source, Iterable):
        source = source()
    if not isinstance(source, Iterable):
        raise ArgumentError(
            f"calibration is a path, arrays by input name or an iterable of batches; received {type(source).__name__}"
        )
    elements = list(source)
    if not elements:
        raise SamplesError("samples: the iterable yields no batch")
    if isinstance(source, list | tuple) and len(specs) > 1 and len(source) == len(specs):
        elements = [source] if all(hasattr(each, "shape") for each in source) else elements  # one array an input
    batches = [_batch(each, specs) for each in elements]
    if any(batch.keys() != batches[0].keys() for batch in batches):
        raise SamplesError("samples: the batches of the iterable have different names")
    try:
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    except ValueError as error:
        raise SamplesError(f"samples: the batches of the iterable do not fit together: {error}") from error
    return load_samples(joined[""] if joined.keys() == {""} else joined, specs, aliases)


def _batch(element: Any, specs: Sequence[TensorSpec]) -> Arrays:
    """An element of an iterable as arrays `[n, ...]` by input name; a lone array is called ""."""
    if isinstance(element, Mapping):
        ranks = {spec.name: _rank(spec) for spec in specs}
        return {str(name): _with_batch(array, ranks.get(str(name))) for name, array in element.items()}
    if isinstance(element, list | tuple) and element:
        first = element[0]
        if isinstance(first, Mapping | list | tuple) and np.ndim(_leaf(first)) > 0:  # inputs before labels
            return _batch(first, specs)
        if len(element) == len(specs) > 1:
            return {spec.name: _with_batch(each, _rank(spec)) for spec, each in zip(specs, element, strict=True)}
        is_pair = len(specs) == 1 and isinstance(element, tuple)
        if is_pair or (len(specs) == 1 and np.ndim(first) == _rank(specs[0])):
            return {"": _with_batch(first, _rank(specs[0]))}
    return {"": _with_batch(element, _rank(specs[0]) if len(specs) == 1 else None)}


def _leaf(nested: Any) -> Any:
    while isinstance(nested, Mapping | list | tuple) and nested:
        nested = next(iter(nested.values())) if isinstance(nested, Mapping) else nested[0]
    return nested


def _rank(spec: TensorSpec) -> int | None:
    return None if spec.shape is None else len(spec.shape)


def _with_batch(values: Any, rank: int | None) -> Array:
    """An array with its batch dimension, which a single sample lacks."""
    array: Array = np.asarray(values)
    return array[None] if rank is not None and array.ndim == rank - 1 else array


def prepare_calibration(
    samples: Samples, specs: Sequence[TensorSpec], evaluation: Samples | None = None, *, synthetic: bool = False
) -> Calibration:
    """Remove repeated samples, order them by content and hold every fifth out.

    Args:
        samples: Samples as `read_calibration` returns them.
        specs: The model's inputs.
        evaluation: Samples the model is evaluated on. A note says how many of them are among `samples`.
        synthetic: Whether the samples are generated, not the user's.

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
            f"calibration has only {len(kept)} distinct samples; {_ENOUGH_SAMPLES} and more give ranges to rely on"
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
    kind = "synthetic samples" if synthetic else "samples"
    if not held_out.any():
        return Calibration(
            arrays, arrays, content_hash(arrays), f"{kind}, also used to calibrate", not synthetic, tuple(notes)
        )
    used, kept_out = ({name: array[mask] for name, array in arrays.items()} for mask in (~held_out, held_out))
    return Calibration(used, kept_out, content_hash(arrays), f"held-out {kind}", not synthetic, tuple(notes))


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
