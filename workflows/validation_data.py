"""The original of a version, opened, and the data that its artifacts are compared on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import numpy as np

from attnexport.core import (
    DEFAULT_SIGNATURE,
    Arrays,
    ModelError,
    Samples,
    SamplesError,
    batched,
    load_samples,
    synthetic_samples,
)
from attnexport.core.progress import Progress
from attnexport.core.samples import SampleSource
from attnexport.exporter import ModelSource
from attnexport.exporter.lengths import length_of
from attnexport.exporter.models import import_modules
from attnexport.parity import Limits
from attnexport.parity.checks import Batch, Subject, Validation
from attnexport.parity.edge_cases import edge_cases
from attnexport.parity.labelled import judged_output
from attnexport.parity.validation import narrows, takes
from attnexport.store import ExportDirectory, VersionEntry

from .validation_original import check_unchanged, open_exported
from .versions import open_original

_BATCH = 256
_SYNTHETIC = 64
_STEPS = 8  # of synthetic samples, if the model leaves them free and no .tflite fixes them


@dataclass(frozen=True)
class Data:
    """Samples to compare on.

    Attributes:
        samples: The samples.
        name: What tables and messages call them.
        given: Whether they are the user's, and not synthetic.
        steps: Number of steps of edge cases.
        judged: Of each signature, the output that labels are of, or whose top class is compared; all if it has none.
    """

    samples: Samples
    name: str
    given: bool
    steps: int = _STEPS
    judged: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """What artifacts are compared with, and on.

    Attributes:
        original: The original, in float32.
        data: The samples.
        notes: What the user should know, a sentence each.
        precision: The row of the table of budgets that the original computes in, before it was opened in float32.
        quantized: The original as Keras quantized it, which the SavedModel computes; None if it did not. The .tflite
            files are made of its float weights, and compared with `original`.
    """

    original: ModelSource
    data: Data
    notes: tuple[str, ...]
    precision: str = "float32"
    quantized: ModelSource | None = None


def open_compared(
    directory: ExportDirectory,
    entry: VersionEntry,
    evaluation: SampleSource | None,
    imports: Sequence[str],
    limits: Limits,
    stack: ExitStack,
    progress: Progress,
    labels_for: str | None = None,
) -> Compared:
    """Open the original of a version until the stack is closed, and the samples.

    Raises:
        GateError: An artifact of the version was changed.
        ModelError: The original does not load.
        SamplesError: The samples do not fit it.
    """
    import_modules(imports)
    progress("comparing hashes")
    check_unchanged(directory, entry)
    progress("opening the original")
    origin = open_original(directory, entry)
    labels = entry.source.get("labels") if origin.saved_model is None else None
    opened = open_exported(origin, labels)
    at_lengths = {each.name for artifact in entry.artifacts for each in artifact.signatures} - opened.signatures.keys()
    original = stack.enter_context(closing(opened.in_float32().with_lengths_of(sorted(at_lengths))))
    precision, quantized = opened.precision, opened if opened.quantized_by else None
    steps = _steps_of(entry, original)
    if evaluation is None:
        data = synthetic_data(original, steps)
        notes = [f"without evaluation samples, {data.name} are compared: they test the computation, not its use"]
        return Compared(original, data, tuple(notes), precision, quantized)
    aliases = {old: new for new, old in entry.names.items()}
    samples = load_samples(evaluation, original.inputs, aliases)
    if limits.max_accuracy_drop is not None and samples.labels is None:
        raise SamplesError("max_accuracy_drop needs evaluation samples with 'labels'")
    judged = _judged(original, samples, labels_for, labels or ())
    data = Data(samples, f"{len(samples)} evaluation samples", given=True, steps=steps, judged=judged)
    notes = [*samples.notes, *_note_on_labels(original, samples, judged, labels_for)]
    return Compared(original, data, tuple(notes), precision, quantized)


def _judged(
    original: ModelSource, samples: Samples, labels_for: str | None, class_names: Sequence[str]
) -> dict[str, str]:
    """Of each signature, the output that labels are of; without labels, the one that the user chose."""
    if samples.labels is None and labels_for is None:
        return {}
    few = np.unique(np.linspace(0, len(samples) - 1, _BATCH).astype(int))  # spread, as files are sorted by class
    inputs = {name: array[few] for name, array in samples.inputs.items()}
    labels = None if samples.labels is None else samples.labels[few]
    default = batched(original.reference, inputs)
    name = judged_output(default, labels, chosen=labels_for, class_names=class_names)
    if name is None:
        return {}
    judged = {DEFAULT_SIGNATURE: name}
    for signature in original.feeds.keys() - {DEFAULT_SIGNATURE}:
        outputs = [spec.name for spec in original.signatures[signature].outputs]
        if name in outputs:
            judged[signature] = name
    return judged


def _note_on_labels(
    original: ModelSource, samples: Samples, judged: Mapping[str, str], labels_for: str | None
) -> list[str]:
    """Which output labels were compared with, if there was a choice."""
    outputs = original.signatures[DEFAULT_SIGNATURE].outputs
    if samples.labels is None or labels_for is not None or len(outputs) < 2 or not judged:
        return []
    return [f"labels are compared with output {judged[DEFAULT_SIGNATURE]!r}; --labels-for OUTPUT chooses another"]


def check_limits_measured(verdict: Validation, limits: Limits) -> None:
    """Refuse limits that nothing was held to.

    Raises:
        ModelError: No output holds scores.
    """
    measured = [each.measured for each in verdict.checks if each.measured is not None and not each.is_edge]
    for limit, figure in (("min_agreement", "agreement"), ("max_accuracy_drop", "accuracy")):
        applies = getattr(limits, limit) is not None
        if applies and measured and all(getattr(each, figure) is None for each in measured):
            raise ModelError(
                f"{limit} limits scores [n, classes], and no output that was compared holds scores; "
                "min_sqnr limits any output"
            )


def other_lengths(original: ModelSource, data: Data, subjects: Sequence[Subject]) -> list[str]:
    """Notes on the artifacts that fix a size which the original leaves free, and not at the samples' size."""
    default, notes = original.signatures[DEFAULT_SIGNATURE], []
    for subject in subjects:
        own = subject.runner.signatures.get(DEFAULT_SIGNATURE)
        if own is not None and narrows(own, default) and not takes(own, data.samples.inputs):
            steps = ", ".join(str(size) for spec in own.inputs for size in (spec.shape or ())[1:2])
            notes.append(f"{subject.artifact} takes {steps} steps, and is not compared on these samples")
    return list(dict.fromkeys(notes))


def why_not_compared(original: ModelSource, data: Data, name: str) -> str | None:
    """Why a signature cannot be compared; None if it can."""
    if name not in original.signatures:
        return "the original offers no such endpoint by itself"
    feed = original.feeds.get(name)
    if feed and length_of(name) and not takes(original.signatures[name], feed(data.samples.inputs)):
        return "the samples are shorter"
    takes_strings = any(spec.dtype == "string" for spec in original.signatures[name].inputs)
    if takes_strings and name not in original.feeds:
        return "it takes strings, and their content is unknown"
    return None


def batches(original: ModelSource, data: Data, signatures: Sequence[str]) -> Iterator[Batch]:
    """The data in pieces, then the edge cases, for each signature.

    Signatures that do not take the inputs of `serving_default` get synthetic samples of their own.
    """
    default = original.signatures[DEFAULT_SIGNATURE]
    edges = list(edge_cases(default, integers_below=original.integers_below, steps=data.steps))  # a few samples
    for name in signatures:
        feed = original.feeds.get(name)
        if feed is None:
            signature = original.signatures[name]
            made = synthetic_samples(signature.inputs, _SYNTHETIC if signature.is_batched else None)
            yield Batch("synthetic samples", made.inputs, name, is_synthetic=True)
            continue
        for chunk in _chunks(data.samples):
            judged = data.judged.get(name)
            yield Batch(data.name, feed(chunk.inputs), name, chunk.labels, judged, is_synthetic=not data.given)
        for case, inputs in edges:
            yield Batch(case, feed(inputs), name, is_edge=True)


def count_batches(original: ModelSource, data: Data, signatures: Sequence[str]) -> int:
    """The number of `batches`."""
    default = original.signatures[DEFAULT_SIGNATURE]
    edges = len(list(edge_cases(default, integers_below=original.integers_below, steps=data.steps)))
    fed = sum(name in original.feeds for name in signatures)
    return fed * (-(-len(data.samples) // _BATCH) + edges) + len(signatures) - fed


def synthetic_data(original: ModelSource, steps: int) -> Data:
    """Seeded samples, if the user gave none."""
    made = synthetic_samples(
        original.inputs,
        _SYNTHETIC,
        integers_below=original.integers_below,
        words=original.words,
        free_size=steps,
    )
    return Data(made, f"{_SYNTHETIC} synthetic samples", given=False, steps=steps)


def _steps_of(entry: VersionEntry, original: ModelSource) -> int:
    """Free steps of synthetic samples: those that a .tflite of the version fixes."""
    free = {spec.name: spec.shape or () for spec in original.inputs}
    for artifact in entry.artifacts:
        for signature in artifact.signatures:
            if artifact.kind != "tflite" or signature.name != DEFAULT_SIGNATURE:
                continue
            for spec in signature.inputs:
                for size, fixed in list(zip(free.get(spec.name, ()), spec.shape or (), strict=False))[1:]:
                    if size is None and fixed is not None:
                        return fixed
    return _STEPS


def _chunks(samples: Samples) -> Iterator[Samples]:
    for start in range(0, len(samples), _BATCH):
        inputs: Arrays = {name: array[start : start + _BATCH] for name, array in samples.inputs.items()}
        labels = None if samples.labels is None else samples.labels[start : start + _BATCH]
        yield Samples(inputs, labels)
