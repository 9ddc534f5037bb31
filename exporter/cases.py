"""The samples of an export: those that become warm-up records, and those that the gate compares."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from attnexport.core.errors import ArgumentError, AttnexportError, ModelError, SamplesError
from attnexport.core.runner import batched
from attnexport.core.samples import Samples, SampleSource, load_samples, synthetic_samples
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature
from attnexport.parity import Case

from .model_source import ModelSource
from .warmup import MAX_RECORDS

DEFAULT_WARMUP = 3
_GATE_SAMPLES = 64  # of the user's own samples, besides synthetic ones
_FREE_SIZES = (8, 32, 256)  # for free dimensions, the first that the model accepts: convolutions need room


def warmup_samples(source: ModelSource, warmup: int | SampleSource | None) -> tuple[Samples | None, list[str]]:
    """The samples that become warm-up records, and notes on them.

    Args:
        source: The model.
        warmup: Samples, on disk or as arrays, or the number of synthetic ones; a few if None, unless a copied
            SavedModel has records.

    Returns:
        The samples; empty for no records, None to keep the records of the SavedModel.

    Raises:
        ArgumentError: for a number that TF Serving does not replay, or if no samples can be generated.
        SamplesError: if the samples do not fit.
    """
    if warmup is None and source.keeps_warmup:
        return None, []
    default = source.signatures[DEFAULT_SIGNATURE]
    if not default.is_batched:
        if warmup is not None and not (isinstance(warmup, int) and warmup == 0):
            raise ArgumentError(f"warm-up samples need a batch dimension, and {default} has a scalar")
        return None, ["there are no warm-up records: serving_default has a scalar, so there is no batch of samples"]
    limit = MAX_RECORDS // len(source.feeds)
    if warmup is None or isinstance(warmup, int):
        count = DEFAULT_WARMUP if warmup is None else warmup
        if not 0 <= count <= limit:
            raise ArgumentError(
                f"warm-up takes 0 to {limit} samples for {len(source.feeds)} signatures "
                f"(TF Serving replays {MAX_RECORDS} records at most); received {count}"
            )
        try:
            return Samples(_make_up(source, default, count or 1).inputs).take(count), []
        except ModelError as error:
            if warmup:
                raise ArgumentError(f"no warm-up samples can be generated, give a file of them: {error}") from error
            notes = [f"there are no warm-up records: {error}"] if count else []
            return synthetic_samples(source.inputs, 0), notes
    samples = load_samples(warmup, source.inputs, {old: new for new, old in source.names.items()})
    notes = list(samples.notes)
    if len(samples) > limit:
        notes.append(
            f"warm-up uses the first {limit} of {len(samples)} samples: "
            f"TF Serving replays {MAX_RECORDS} records at most, one a sample and signature"
        )
    return samples.take(limit), notes


def gate_cases(source: ModelSource, samples: Samples | None) -> tuple[list[Case], list[str]]:
    """What the gate compares: synthetic samples if the original accepts them, and the user's own.

    Returns:
        The cases, and a note for each signature that has none.

    Raises:
        ModelError: if `serving_default` has none.
        SamplesError: if the original does not return finite numbers for the user's samples.
    """
    cases, notes = [], []
    for signature in source.signatures.values():
        own = _own_cases(source, signature, samples)
        try:
            synthetic = _synthetic_cases(source, signature)
        except ModelError as error:
            synthetic = []
            if not own:
                problem = f"signature {signature.name!r} cannot be compared: {error}"
                if signature.name == DEFAULT_SIGNATURE:
                    raise ModelError(f"{problem}; give samples that the model is made for, --warmup FILE") from error
                notes.append(problem)
        cases += synthetic + own
    return cases, notes


def _own_cases(source: ModelSource, signature: Signature, samples: Samples | None) -> list[Case]:
    feed = source.feeds.get(signature.name)
    if feed is None or samples is None or not len(samples):
        return []
    few = samples.take(_GATE_SAMPLES)
    try:
        return [_answered(source, signature, f"{len(few)} warm-up samples", feed(few.inputs))]
    except AttnexportError as error:
        raise SamplesError(f"the warm-up samples do not suit the model: {error}") from error


def _synthetic_cases(source: ModelSource, signature: Signature) -> list[Case]:
    """An odd batch, and a single sample of another length if that is free and the original accepts it."""
    cases = [_make_up(source, signature, 3)]
    with suppress(ModelError):  # too short for the model, which is not a fault
        cases.append(_make_up(source, signature, 1, free_sizes=(5,)))
    return cases


def _make_up(source: ModelSource, signature: Signature, count: int, free_sizes: tuple[int, ...] = _FREE_SIZES) -> Case:
    """Synthetic samples for a signature, for which the original returns finite numbers.

    Raises:
        ModelError: if it does not.
    """
    feed = source.feeds.get(signature.name)
    specs = source.inputs if feed else signature.inputs
    problem = ""
    for free_size in free_sizes:
        samples = synthetic_samples(
            specs,
            count if signature.is_batched else None,
            seed=count,
            integers_below=source.integers_below,
            words=source.words,
            free_size=free_size,
        ).inputs
        title = f"{count} synthetic sample{'s' * (count > 1)}"
        try:
            return _answered(source, signature, title, feed(samples) if feed else samples)
        except AttnexportError as error:
            problem = problem or str(error)
    raise ModelError(f"{problem} (on synthetic samples)")


def _answered(source: ModelSource, signature: Signature, title: str, inputs: Arrays) -> Case:
    """A case with the original's outputs, refused if they are not finite."""
    outputs = batched(source.reference, inputs, signature=signature.name)
    for name, output in outputs.items():
        if output.dtype.kind == "f" and not np.isfinite(output.astype(np.float64)).all():
            raise ModelError(f"the original answers with NaN or infinity in {name!r}")
    return Case(title, inputs, signature.name, outputs)
