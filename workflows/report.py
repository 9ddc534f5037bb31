"""What a validation leaves behind: the HTML report, and the verdicts in the manifest."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version as installed_version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from attnexport.core import DEFAULT_SIGNATURE, ArgumentError, AttnexportError
from attnexport.core.os_errors import writing
from attnexport.core.samples import content_hash
from attnexport.parity.pareto import Candidate
from attnexport.parity.report import ComparedData, Report, WorstSample, render
from attnexport.parity.running import run_for_comparison
from attnexport.parity.summary import Summary, summarize
from attnexport.store.files import make_directories, write_atomically
from attnexport.store.manifest import ValidationRecord

from .report_details import changes, confusions

if TYPE_CHECKING:
    from attnexport.parity import Check, Limits, Subject, Validation
    from attnexport.store import ExportDirectory, VersionEntry

    from .layers import Inside
    from .validation_data import Compared, Data

_PACKAGES = ("attnexport", "tensorflow", "keras", "ai-edge-litert", "litert-quantizer", "numpy")
_RECORDED_AS = {"min_sqnr_db": "min_sqnr"}  # manifests have the names of the command line's options


def report_path(path: Path | None, directory: ExportDirectory, entry: VersionEntry) -> Path:
    """Where a report is written: this path, or `report/VERSION.html` in the export if None.

    Raises:
        ArgumentError: The path is a directory, or is not in one.
    """
    if path is None:
        return directory.root / "report" / f"{entry.version}.html"
    if path.is_dir():
        raise ArgumentError(f"html: {path} is a directory; name a file in it, such as {path / 'report.html'}")
    if not path.parent.is_dir():
        raise ArgumentError(f"html: {path} is in {path.parent}, which is not a directory")
    return path


def write_report(path: Path, html: str) -> None:
    """Write a report as a whole.

    Raises:
        StorageError: The file system refuses; an older report is still there.
    """
    with writing(path):
        make_directories(path.parent)
        write_atomically(path, html)


def read_search(directory: ExportDirectory, entry: VersionEntry) -> tuple[Candidate, ...]:
    """The candidates of the last precision search on a version; none if there was no search.

    Raises:
        ContentError: Its file is not valid.
    """
    from attnexport.tflite.search.result import read_candidates

    return read_candidates(directory.root / "recipes" / str(entry.version) / "auto.search.json")


def draw_report(
    directory: ExportDirectory,
    entry: VersionEntry,
    compared: Compared,
    subjects: Sequence[Subject],
    verdict: Validation,
    candidates: tuple[Candidate, ...],
    *,
    searched: tuple[Candidate, ...],
    created: str,
    notes: Sequence[str],
    inside: Inside | None,
    against: VersionEntry | None = None,
) -> str:
    """The report as HTML, with the outputs for the worst samples, which need the Runners to be open."""
    return render(
        Report(
            name=directory.name,
            entry=_without_paths(entry),
            created=created,
            validation=verdict,
            data=compared_data(compared.data),
            candidates=candidates,
            worst=tuple(_worst_samples(compared, subjects, verdict, labels_of(entry))),
            layers=inside.layers if inside else (),
            maps=inside.maps if inside else (),
            environment=_environment(),
            notes=tuple(dict.fromkeys([*notes, *(inside.notes if inside else ())])),
            searched=searched,
            confusions=tuple(confusions(compared, subjects, verdict, labels_of(entry))),
            against=None if against is None else against.version,
            changes=() if against is None else changes(entry, against, verdict),
        )
    )


def compared_data(data: Data) -> ComparedData:
    """The samples as the report and the manifest describe them."""
    return ComparedData(data.name, len(data.samples), content_hash(data.samples.inputs), data.given)


def record(
    directory: ExportDirectory,
    entry: VersionEntry,
    verdict: Validation,
    data: ComparedData,
    created: str,
    limits: Limits,
) -> list[str]:
    """Record the verdicts in the manifest; gives a note if it cannot be written, since the verdicts stand."""
    rows: dict[str, list[Summary]] = defaultdict(list)
    for row in summarize(verdict):
        rows[row.artifact].append(row)
    version = installed_version("attnexport")
    given = {_RECORDED_AS.get(name, name): value for name, value in limits.given().items()}
    validations = {
        path: ValidationRecord(
            created, version, verdict.reference, vars(data), given, tuple(row.to_record() for row in several)
        )
        for path, several in rows.items()
    }
    try:
        directory.record(entry, validations)
    except AttnexportError as error:  # a full disk, or a manifest that was changed meanwhile
        return [f"the verdicts could not be recorded in the manifest: {error}"]
    return []


def labels_of(entry: VersionEntry) -> tuple[str, ...]:
    """The names of a version's classes; empty if it has none."""
    return tuple(entry.source.get("labels") or ())


def _worst_samples(
    compared: Compared, subjects: Sequence[Subject], verdict: Validation, labels: tuple[str, ...]
) -> Iterator[WorstSample]:
    """The sample on which each artifact is worst, run again; in `serving_default` if that was measured."""
    by_artifact: dict[str, list[Check]] = defaultdict(list)
    for check in verdict.checks:
        has_place = check.measured is not None and check.measured.index and not check.is_edge
        if has_place and check.signature in compared.original.feeds:
            by_artifact[check.artifact].append(check)
    for checks in by_artifact.values():
        ordered = sorted(checks, key=lambda each: (each.signature != DEFAULT_SIGNATURE, _sqnr_db(each)))
        # A recording holds whole batches only: the next worst runtime has the sample.
        samples = (_run_again(compared, subjects, check, labels) for check in ordered)
        yield from islice((each for each in samples if each is not None), 1)


def _run_again(
    compared: Compared, subjects: Sequence[Subject], check: Check, labels: tuple[str, ...]
) -> WorstSample | None:
    """The sample of a check's greatest error, run by itself; None if that fails."""
    if check.measured is None:
        return None
    original = compared.original
    runner = next(each.runner for each in subjects if (each.artifact, each.runtime) == (check.artifact, check.runtime))
    number, *place = check.measured.index
    sample = {name: array[number : number + 1] for name, array in compared.data.samples.inputs.items()}
    inputs = original.feeds[check.signature](sample)
    try:
        expected = run_for_comparison(original.reference, inputs, check.signature)[check.output][0]
        actual = run_for_comparison(runner, inputs, check.signature)[check.output][0]
    except AttnexportError:
        return None
    return WorstSample(
        artifact=check.artifact,
        runtime=check.runtime,
        signature=check.signature,
        output=check.output,
        number=number,
        inputs={name: array[0] for name, array in inputs.items()},
        expected=expected,
        actual=actual,
        error=check.measured.max_error,
        index=tuple(place),
        labels=labels,
    )


def _environment() -> dict[str, str]:
    """The software and the machine of a validation."""
    versions = ", ".join(f"{name} {installed_version(name)}" for name in _PACKAGES)
    machine = f"{_processor()}, {os.cpu_count()} processors, {platform.system()} {platform.machine()}"
    return {"Validated with": f"python {platform.python_version()}, {versions}", "On": machine}


def _without_paths(entry: VersionEntry) -> VersionEntry:
    """The entry as a report shows it to others: without the directories of this machine."""
    source = {
        key: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for key, value in entry.source.items()
    }
    return replace(entry, source=source)


def _sqnr_db(check: Check) -> float:
    return check.measured.sqnr_db if check.measured else float("-inf")


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "an unknown processor"
