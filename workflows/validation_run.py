"""The run of a validation: open everything, compare it, and record the verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attnexport import parity
from attnexport.core.progress import Progress
from attnexport.core.samples import SampleSource
from attnexport.core.wording import worded_all
from attnexport.parity import Limits, Subject
from attnexport.parity.checks import Batch
from attnexport.store import ExportDirectory, VersionEntry

from .device_cases import device_artifacts, device_batches, read_recording
from .layers import look_inside
from .report import compared_data, draw_report, read_search, record
from .report_details import changes
from .validation_data import (
    Compared,
    batches,
    check_limits_measured,
    count_batches,
    open_compared,
    other_lengths,
    why_not_compared,
)
from .validation_result import ValidationResult
from .validation_structure import notes_on_hashes, notes_on_versions, stale_records, structure_checks, uncompared
from .validation_subjects import (
    beside_quantized,
    embedded_server_subjects,
    open_subjects,
    server_subjects,
    without_damaged,
    without_half,
)
from .version_candidates import version_candidates

if TYPE_CHECKING:
    from attnexport.exporter import ModelSource
    from attnexport.parity import Validation


def run_validation(
    directory: ExportDirectory,
    entry: VersionEntry,
    *,
    evaluation: SampleSource | None,
    imports: Sequence[str],
    server: str | None,
    model: str,
    serve: bool | str,
    limits: Limits,
    labels_for: str | None,
    layers: bool,
    recorded: Sequence[Path],
    report: Path | None,
    progress: Progress,
    against: VersionEntry | None = None,
) -> tuple[ValidationResult, str]:
    """Validate a version; see `validate`. Gives the result, and the HTML of the report if there is to be one."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    # Read first: if it is not valid, nothing is compared in vain.
    searched = () if report is None else read_search(directory, entry)
    with ExitStack() as stack:
        compared = open_compared(directory, entry, evaluation, imports, limits, stack, progress, labels_for)
        subjects, notes_on_subjects = without_half(open_subjects(directory, entry, stack), compared.data.samples.inputs)
        sound = without_damaged(entry, subjects)
        if server is not None:
            subjects += server_subjects(server, model, entry, stack)
        if serve:
            subjects += embedded_server_subjects(directory, sound, serve, imports, stack, progress)
        signatures, notes = _signatures(compared, subjects)
        notes += notes_on_subjects
        for path in recorded:
            progress(f"reading {path}")
            artifacts = device_artifacts(entry)
            cases = device_batches(compared.original, compared.data, artifacts)
            subjects.append(read_recording(path, artifacts, cases))
        if compared.original.origin.saved_model is not None:
            subjects, notes_on_quantized = beside_quantized(entry, subjects)
            notes += notes_on_quantized
        structure = structure_checks(directory, entry, subjects, compared.precision)
        verdict = _compare(compared, subjects, signatures, limits, entry.source.get("labels") or (), progress)
        check_limits_measured(verdict, limits)
        verdict = replace(verdict, checks=(*structure, *uncompared(entry, verdict, notes), *verdict.checks))
        stale = stale_records(directory, entry)
        if verdict:
            verdict = replace(verdict, checks=(*stale, *verdict.checks))
        else:
            notes += map(str, stale)
        notes += [*notes_on_hashes(entry), *notes_on_versions(directory)]
        inside = None
        if layers or report is not None:
            progress("looking inside the .tflite files")
            samples = compared.data.samples.inputs
            inside = look_inside(directory, sound, compared.original, samples)
            notes += inside.notes if layers else ()
        data = compared_data(compared.data)
        candidates, html = version_candidates(entry, verdict), ""
        if report is not None:
            progress("drawing the report")
            candidates = version_candidates(entry, verdict, subjects)
            html = draw_report(
                directory,
                entry,
                compared,
                subjects,
                verdict,
                candidates,
                searched=searched,
                created=created,
                notes=notes,
                inside=inside,
                against=against,
            )
    notes += record(directory, entry, verdict, data, created, limits)
    shown = inside if layers else None
    compared_versions = () if against is None else changes(entry, against, verdict)
    result = ValidationResult(directory.root, entry.version, verdict, data, worded_all(notes), candidates, shown)
    other = None if against is None else against.version
    return replace(result, against=other, changes=compared_versions), html


def _signatures(compared: Compared, subjects: Sequence[Subject]) -> tuple[list[str], list[str]]:
    """The signatures that can be compared, and notes on what cannot."""
    names = sorted({name for each in subjects for name in each.runner.signatures})
    reasons = {name: why_not_compared(compared.original, compared.data, name) for name in names}
    notes = [*compared.notes]
    notes += [f"signature {name!r} is not compared: {reason}" for name, reason in reasons.items() if reason]
    notes += other_lengths(compared.original, compared.data, subjects)
    return [name for name, reason in reasons.items() if not reason], notes


def _compare(
    compared: Compared,
    subjects: Sequence[Subject],
    signatures: Sequence[str],
    limits: Limits,
    class_names: Sequence[str],
    progress: Progress,
) -> Validation:
    original, data = compared.original, compared.data
    groups: list[tuple[ModelSource, Sequence[Subject]]] = [(original, subjects)]
    if compared.quantized is not None:
        files = [each for each in subjects if each.artifact.startswith("tflite/")]
        groups = [(compared.quantized, [each for each in subjects if each not in files]), (original, files)]
    groups = [(source, group) for source, group in groups if group]
    done, total = 0, len(groups) * count_batches(original, data, signatures)

    def count(batch: Batch) -> None:
        nonlocal done
        done += 1
        progress("comparing", done=done, total=total)

    progress("comparing", done=0, total=total)
    verdicts = [
        parity.validate(
            source.reference,
            group,
            batches(source, data, [each for each in signatures if each in source.signatures]),
            limits=limits,
            reference_name=original.reference_name,
            class_names=class_names,
            in_few_calls=source.runs_by_layer,
            on_batch=count,
        )
        for source, group in groups
    ]
    return parity.Validation(original.reference_name, tuple(check for each in verdicts for check in each.checks))
