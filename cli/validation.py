"""What `attnexport validate` runs: the subjects of a version, and the data that they are compared on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnexport.core import (
    DEFAULT_SIGNATURE,
    Arrays,
    GateError,
    ModelError,
    Samples,
    SamplesError,
    batched,
    load_samples,
    synthetic_samples,
)
from attnexport.exporter import (
    EagerSavedModelRunner,
    LoadedModel,
    Original,
    SavedModelRunner,
    open_original,
    open_version,
)
from attnexport.exporter.models import import_modules
from attnexport.parity import Limits
from attnexport.parity.edge_cases import edge_cases
from attnexport.parity.metrics import scores_name
from attnexport.parity.tally import check_labels
from attnexport.parity.validation import Batch, Subject, Validation, narrows, takes
from attnexport.store import Artifact, ExportDirectory, VersionEntry
from attnexport.tflite import CompiledModelRunner, TFLiteRunner

_BATCH = 256
_SYNTHETIC = 64
_STEPS = 8  # of made-up samples, where the model leaves them free and no .tflite fixes them


@dataclass(frozen=True)
class Data:
    """Samples to compare on, and what to call them; `given` where they are the user's; `steps` of edge cases."""

    samples: Samples
    name: str
    given: bool
    steps: int = _STEPS


def check_unchanged(directory: ExportDirectory, entry: VersionEntry) -> None:
    """Refuse artifacts that are not what was exported.

    Raises:
        GateError: naming those that are gone or were changed.
    """
    changes = [(artifact.path, artifact.change(directory.root)) for artifact in entry.artifacts]
    wrong = [f"{path} {change}" for path, change in changes if change]
    if wrong:
        raise GateError(
            f"version {entry.version} of {directory.root} is not what was exported: {', '.join(wrong)} since; export "
            "it again"
        )


def open_compared(
    directory: ExportDirectory,
    entry: VersionEntry,
    options: dict[str, Any],
    limits: Limits,
    stack: ExitStack,
    on_step: Callable[[str], None],
) -> tuple[LoadedModel, Original, Data, list[str]]:
    """The original of a version, open until the stack is closed, the data that `options` name, and notes.

    Raises:
        GateError: where an artifact of the version was changed.
        ModelError: where the original does not load.
        SamplesError: where the samples do not fit it.
    """
    import_modules(options["imports"])
    on_step("comparing hashes")
    check_unchanged(directory, entry)
    on_step("opening the original")
    loaded = open_version(directory, entry)
    labels = entry.source.get("labels")
    original = stack.enter_context(closing(open_original(loaded, classify=True, labels=labels)))
    steps = _steps_of(entry, original)
    if options["evaluation"] is None:
        data = synthetic_data(original, steps)
        told = [f"without --evaluation, {data.name} are compared: they prove the computation, not its use"]
        if limits == Limits() and any(artifact.calibrated_on_given for artifact in entry.artifacts):
            told.append("of what is calibrated on samples of yours, the error on these is reported only")
        return loaded, original, data, told
    aliases = {old: new for new, old in entry.names.items()}
    samples = load_samples(Path(options["evaluation"]), original.inputs, aliases)
    if options["max_accuracy_drop"] is not None and samples.labels is None:
        raise SamplesError("--max-accuracy-drop needs to know what is right: evaluation samples with 'labels'")
    if options["max_accuracy_drop"] is not None:
        _check_labels(original, samples)
    data = Data(samples, f"{len(samples)} evaluation samples", given=True, steps=steps)
    return loaded, original, data, list(samples.notes)


def _check_labels(original: Original, samples: Samples) -> None:
    first = {name: array[:1] for name, array in samples.inputs.items()}
    outputs = batched(original.reference, first)
    scores = scores_name(outputs)
    if scores is not None and samples.labels is not None:
        check_labels(samples.labels, outputs[scores].shape[1])


def open_subjects(directory: ExportDirectory, entry: VersionEntry, stack: ExitStack) -> list[Subject]:
    """Every artifact of a version in every runtime, open until the stack is closed.

    Raises:
        ModelError: where one does not load.
    """
    found = []
    for artifact in entry.artifacts:
        path = directory.root / artifact.path
        if artifact.kind == "saved_model":
            found += _saved_model(artifact, path, stack)
        elif artifact.kind == "tflite":
            runners = ("interpreter", TFLiteRunner(path)), ("CompiledModel", CompiledModelRunner(path))
            for runtime, runner in runners:
                stack.enter_context(closing(runner))
                found.append(Subject.of(artifact, runtime, runner))
    return found


def check_limits_measured(result: Validation, options: dict[str, Any]) -> None:
    """Refuse limits that nothing was held to.

    Raises:
        ModelError: where no output is a row of scores.
    """
    measured = [each.measured for each in result.checks if each.measured is not None and not each.is_edge]
    for option, figure in (("min_agreement", "agreement"), ("max_accuracy_drop", "accuracy")):
        wanted = options[option] is not None
        if wanted and measured and all(getattr(each, figure) is None for each in measured):
            raise ModelError(
                f"--{option.replace('_', '-')} is of scores [n, classes], and no output that was compared is such; "
                "--min-sqnr limits any output"
            )


def other_lengths(original: Original, data: Data, subjects: Sequence[Subject]) -> list[str]:
    """Notes on the artifacts that have fixed what the original leaves free, and not at the samples' size."""
    default, notes = original.signatures[DEFAULT_SIGNATURE], []
    for subject in subjects:
        own = subject.runner.signatures.get(DEFAULT_SIGNATURE)
        if own is not None and narrows(own, default) and not takes(own, data.samples.inputs):
            steps = ", ".join(str(size) for spec in own.inputs for size in (spec.shape or ())[1:2])
            notes.append(f"{subject.artifact} takes {steps} steps, and is not compared on these samples")
    return list(dict.fromkeys(notes))


def unfit(original: Original, name: str) -> str | None:
    """Why a signature cannot be compared, None where it can."""
    if name not in original.signatures:
        return "it is no endpoint that the original offers by itself"
    takes_strings = any(spec.dtype == "string" for spec in original.signatures[name].inputs)
    if takes_strings and name not in original.feeds:
        return "it takes strings, and nothing tells what must be in them"
    return None


def batches(original: Original, data: Data, signatures: Sequence[str]) -> Iterator[Batch]:
    """The data, in pieces, then the edge cases, for each signature.

    Signatures that do not take the inputs of `serving_default` get made up ones of their own.
    """
    for name in signatures:
        feed = original.feeds.get(name)
        if feed is None:
            signature = original.signatures[name]
            made = synthetic_samples(signature.inputs, _SYNTHETIC if signature.is_batched else None)
            yield Batch("synthetic samples", made.inputs, name, is_made_up=True)
            continue
        for chunk in _chunks(data.samples):
            yield Batch(data.name, feed(chunk.inputs), name, chunk.labels, is_made_up=not data.given)
        default = original.signatures[DEFAULT_SIGNATURE]
        for case, inputs in edge_cases(default, integers_below=original.integers_below, steps=data.steps):
            yield Batch(case, feed(inputs), name, is_edge=True)


def count_batches(original: Original, data: Data, signatures: Sequence[str]) -> int:
    """How many `batches` there will be."""
    default = original.signatures[DEFAULT_SIGNATURE]
    edges = len(list(edge_cases(default, integers_below=original.integers_below, steps=data.steps)))
    fed = sum(name in original.feeds for name in signatures)
    return fed * (-(-len(data.samples) // _BATCH) + edges) + len(signatures) - fed


def synthetic_data(original: Original, steps: int) -> Data:
    """Seeded samples, where nobody gave any."""
    made = synthetic_samples(original.inputs, _SYNTHETIC, integers_below=original.integers_below, free_size=steps)
    return Data(made, f"{_SYNTHETIC} synthetic samples", given=False, steps=steps)


def _steps_of(entry: VersionEntry, original: Original) -> int:
    """What free steps are in made-up samples: those that a .tflite of the version has fixed."""
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


def _saved_model(artifact: Artifact, path: Path, stack: ExitStack) -> list[Subject]:
    session = stack.enter_context(closing(SavedModelRunner(path)))
    eager = stack.enter_context(closing(EagerSavedModelRunner(path, session.signatures)))
    return [Subject.of(artifact, runtime, runner) for runtime, runner in (("session", session), ("eager", eager))]


def _chunks(samples: Samples) -> Iterator[Samples]:
    for start in range(0, len(samples), _BATCH):
        inputs: Arrays = {name: array[start : start + _BATCH] for name, array in samples.inputs.items()}
        labels = None if samples.labels is None else samples.labels[start : start + _BATCH]
        yield Samples(inputs, labels)
