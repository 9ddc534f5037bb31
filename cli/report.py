"""What a validation leaves behind: the report, and the verdicts in the manifest."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version as installed_version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core import DEFAULT_SIGNATURE, ArgumentError, AttnexportError, batched
from attnexport.core.latency import measure
from attnexport.core.os_errors import writing
from attnexport.core.samples import content_hash
from attnexport.parity.pareto import Candidate
from attnexport.parity.report import ComparedData, Report, WorstSample, render
from attnexport.parity.summary import Summary, summarize
from attnexport.store.files import make_directories, write_atomically
from attnexport.store.manifest import ValidationRecord

from .benchmark_inputs import choose_signature, same_calls
from .tflite_files import read_search

if TYPE_CHECKING:
    from attnexport.exporter import Original
    from attnexport.parity import Check, Subject, Validation
    from attnexport.store import ExportDirectory, VersionEntry

    from .layers import Inside
    from .validation import Data

_PACKAGES = ("attnexport", "tensorflow", "keras", "ai-edge-litert", "litert-quantizer", "numpy")
_ROUNDS, _SECONDS = 100, 1.5  # of the latency loop


def report_path(given: str, directory: ExportDirectory, entry: VersionEntry) -> Path:
    """Where a report is written: the FILE of --html, or without one `report/VERSION.html` in the export.

    Raises:
        ArgumentError: where that is a directory, or is in none.
    """
    if not given:
        return directory.root / "report" / f"{entry.version}.html"
    path = Path(given)
    if path.is_dir():
        raise ArgumentError(f"--html {path} is a directory; name a file in it, such as {path / 'report.html'}")
    if not path.parent.is_dir():
        raise ArgumentError(f"--html {path} is in {path.parent}, which is no directory")
    return path


def write_report(path: Path, html: str) -> None:
    """Write it as a whole.

    Raises:
        StorageError: where the file system refuses; what was there before is there still.
    """
    with writing(path):
        make_directories(path.parent)
        write_atomically(path, html)


def limits_of(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Those limits that the user gave."""
    return {name: float(options[name]) for name in names if options[name] is not None}


def draw_report(
    directory: ExportDirectory,
    entry: VersionEntry,
    original: Original,
    subjects: Sequence[Subject],
    data: Data,
    result: Validation,
    created: str,
    notes: Sequence[str],
    inside: Inside | None,
) -> str:
    """The report as HTML, with what only open Runners can tell: latencies, and what the worst samples give."""
    return render(
        Report(
            directory.name,
            _without_paths(entry),
            created,
            result,
            compared_data(data),
            _candidates(entry, subjects, result),
            tuple(_worst_samples(original, subjects, data, result)),
            inside.layers if inside else (),
            inside.maps if inside else (),
            _environment(),
            tuple(dict.fromkeys([*notes, *(inside.notes if inside else ())])),
            read_search(directory, entry),
        )
    )


def compared_data(data: Data) -> ComparedData:
    """What the samples were, for the report and the manifest."""
    return ComparedData(data.name, len(data.samples), content_hash(data.samples.inputs), data.given)


def record(
    directory: ExportDirectory,
    entry: VersionEntry,
    result: Validation,
    data: ComparedData,
    created: str,
    limits: Mapping[str, float],
) -> list[str]:
    """Write the verdicts into the manifest; a note where that cannot be, since they stand all the same."""
    rows: dict[str, list[Summary]] = defaultdict(list)
    for row in summarize(result):
        rows[row.artifact].append(row)
    version = installed_version("attnexport")
    validations = {
        path: ValidationRecord(
            created, version, result.reference, vars(data), limits, tuple(row.to_record() for row in found)
        )
        for path, found in rows.items()
    }
    try:
        directory.record(entry, validations)
    except AttnexportError as error:  # a full disk, or a manifest that was changed meanwhile
        return [f"the verdicts are not in the manifest: {error}"]
    return []


def _candidates(entry: VersionEntry, subjects: Sequence[Subject], result: Validation) -> tuple[Candidate, ...]:
    """The artifacts with size, latency and error; latencies measured in turn, of one sample in `serving_default`.

    Those that do not run, or were not compared, are left out.
    """
    first: dict[str, Subject] = {}
    for subject in subjects:
        first.setdefault(subject.artifact, subject)  # the session of a SavedModel, the interpreter of a .tflite
    runnable = {path: each.runner for path, each in first.items() if each.runner.signatures}
    calls = dict(zip(runnable, same_calls([choose_signature(r.signatures) for r in runnable.values()]), strict=True))
    timed = {}
    for path, call in calls.items():
        run = partial(runnable[path].run, call.inputs(runnable[path].signatures), call.signature)
        with suppress(AttnexportError):
            run()
            timed[path] = run
    latencies = measure(timed, rounds=_ROUNDS, seconds=_SECONDS) if timed else {}
    rows = summarize(result)
    found = []
    for path, latency in latencies.items():
        artifact = entry.artifact_at(path)
        own = [row for row in rows if row.artifact == path]
        shown = [row for row in own if row.signature == DEFAULT_SIGNATURE]
        measured = [row.figures for row in shown if row.figures is not None]
        if artifact and measured:
            figures = min(measured, key=lambda each: each.sqnr_db)
            per_sample = latency.p50_ms / calls[path].samples
            passed = all(row.passed for row in own)
            shares = figures.agreement, figures.accuracy
            candidate = Candidate(
                artifact.title, artifact.size_bytes, per_sample, figures.sqnr_db, *shares, passed=passed
            )
            found.append(candidate)
    return tuple(found)


def _worst_samples(
    original: Original, subjects: Sequence[Subject], data: Data, result: Validation
) -> Iterator[WorstSample]:
    """Run the sample again on which each artifact is worst, in `serving_default` where that was measured."""
    by_artifact: dict[str, list[Check]] = defaultdict(list)
    for check in result.checks:
        if check.measured and check.measured.index and not check.is_edge and check.signature in original.feeds:
            by_artifact[check.artifact].append(check)
    for checks in by_artifact.values():
        ordered = sorted(checks, key=lambda each: (each.signature != DEFAULT_SIGNATURE, _sqnr_db(each)))
        # A recording holds whole batches only: the next worst runtime has the sample.
        found = (_again(original, subjects, data, check) for check in ordered)
        yield from islice((each for each in found if each is not None), 1)


def _again(original: Original, subjects: Sequence[Subject], data: Data, check: Check) -> WorstSample | None:
    """The sample of a check's greatest error, run once more; None where it does not run by itself."""
    if check.measured is None:
        return None
    runner = next(each.runner for each in subjects if (each.artifact, each.runtime) == (check.artifact, check.runtime))
    number, *place = check.measured.index
    sample = {name: array[number : number + 1] for name, array in data.samples.inputs.items()}
    inputs = original.feeds[check.signature](sample)
    try:
        expected = batched(original.reference, inputs, signature=check.signature)[check.output][0]
        actual = batched(runner, inputs, signature=check.signature)[check.output][0]
    except AttnexportError:
        return None
    return WorstSample(
        check.artifact,
        check.runtime,
        check.signature,
        check.output,
        number,
        {name: array[0] for name, array in inputs.items()},
        expected,
        actual,
        check.measured.max_error,
        tuple(place),
    )


def _environment() -> dict[str, str]:
    """What a validation ran with and on."""
    versions = ", ".join(f"{name} {installed_version(name)}" for name in _PACKAGES)
    machine = f"{_processor()}, {os.cpu_count()} processors, {platform.system()} {platform.machine()}"
    return {"Validated with": f"python {platform.python_version()}, {versions}", "On": machine}


def _without_paths(entry: VersionEntry) -> VersionEntry:
    """The entry as a report may show it to others: where files lay on this machine is nobody's business."""
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
