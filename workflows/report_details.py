"""Details of a report: the classes that samples were given, and the artifacts beside another version's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from attnexport.core import DEFAULT_SIGNATURE, Array, Arrays, AttnexportError, Runner, batched
from attnexport.parity.figures import Figures, worst
from attnexport.parity.metrics import scores_name
from attnexport.parity.report import Change, Confusion
from attnexport.parity.summary import recorded_figures, summarize

if TYPE_CHECKING:
    from attnexport.parity import Subject, Validation
    from attnexport.store import Artifact, VersionEntry

    from .validation_data import Compared

_MAX_CLASSES, _MAX_SAMPLES = 25, 2000  # of a table of classes


def confusions(
    compared: Compared, subjects: Sequence[Subject], verdict: Validation, labels: Sequence[str]
) -> Iterator[Confusion]:
    """How often samples with labels were given each class: by the original, and by each artifact in one runtime."""
    samples = compared.data.samples
    if samples.labels is None or samples.labels.dtype.kind not in "iu":
        return
    right = np.asarray(samples.labels[:_MAX_SAMPLES])
    inputs = {name: array[:_MAX_SAMPLES] for name, array in samples.inputs.items()}
    runners = {compared.original.reference_name: compared.original.reference}
    ran = {check.artifact for check in verdict.checks if check.signature == DEFAULT_SIGNATURE and not check.problem}
    for subject in subjects:
        if subject.artifact in ran:
            runners.setdefault(subject.artifact, subject.runner)
    for title, runner in runners.items():
        scores = _scores(runner, inputs)
        if scores is None or scores.shape[1] > _MAX_CLASSES or scores.shape[1] <= int(right.max(initial=0)):
            continue
        counts = np.zeros((scores.shape[1],) * 2, np.int64)
        np.add.at(counts, (right, scores.argmax(axis=1)), 1)
        names = labels if len(labels) == len(counts) else [str(number) for number in range(len(counts))]
        yield Confusion(title, tuple(names), counts)


def changes(entry: VersionEntry, against: VersionEntry, verdict: Validation) -> tuple[Change, ...]:
    """Each artifact of two versions with its size, and its worst figures in `serving_default`."""
    rows = summarize(verdict)

    def after(artifact: Artifact) -> Figures | None:
        own = (row for row in rows if row.artifact == artifact.path and row.signature == DEFAULT_SIGNATURE)
        return worst(row.figures for row in own if row.figures is not None)

    def before(artifact: Artifact) -> Figures | None:
        checks = artifact.validation.checks if artifact.validation else ()
        recorded = (recorded_figures(check) for check in checks if check.signature == DEFAULT_SIGNATURE)
        return worst(each for each in recorded if each is not None)

    new = {each.title: _cells(each, after(each)) for each in entry.artifacts if each.kind != "keras"}
    old = {each.title: _cells(each, before(each)) for each in against.artifacts if each.kind != "keras"}
    absent = (None, None, None, None)
    return tuple(Change(name, old.get(name, absent), new.get(name, absent)) for name in dict.fromkeys([*new, *old]))


def _cells(artifact: Artifact, figures: Figures | None) -> tuple[int | None, float | None, float | None, float | None]:
    if figures is None:
        return artifact.size_bytes, None, None, None
    return artifact.size_bytes, figures.sqnr_db, figures.agreement, figures.accuracy


def _scores(runner: Runner, inputs: Arrays) -> Array | None:
    """The scores `[n, classes]` of a Runner; None if it has none, or does not run on these samples."""
    if DEFAULT_SIGNATURE not in runner.signatures:
        return None
    try:
        outputs = batched(runner, inputs)
    except AttnexportError:
        return None
    name = scores_name(outputs)
    return None if name is None else outputs[name]
