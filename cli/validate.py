"""`attnexport validate`: every artifact of an export against its original, in every runtime."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ArgumentError, StorageError

from .command import command
from .outcome import Outcome
from .terminal import Terminal

if TYPE_CHECKING:
    from attnexport.parity import Limits, Subject, Validation
    from attnexport.parity.report import ComparedData
    from attnexport.store import Artifact, ExportDirectory, VersionEntry
    from attnexport.workflows.served import EmbeddedServer

    from .layers import Inside

_LIMITS = ("rtol", "atol", "min_sqnr", "min_agreement", "max_accuracy_drop")


@command("validate", example="attnexport validate export/classifier --evaluation samples.npz")
@click.argument("export", type=click.Path(path_type=Path))
@click.option("--version", type=int, help="The version to look at. [the newest]")
@click.option("--evaluation", metavar="FILE", help="Samples, with labels or without. [made up]")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="A module that registers your layers.")
@click.option(
    "--server", metavar="HOST:PORT", help="A server that serves the version's SavedModel, to compare as well."
)
@click.option("--model", help="The name that it is served under. [the export's]")
@click.option("--serve", is_flag=True, help="Serve the export by the embedded server meanwhile, and compare over gRPC.")
@click.option("--rtol", type=float, help="With --atol: what an element may differ by, atol + rtol * |original|.")
@click.option("--atol", type=float, help="See --rtol.")
@click.option("--min-sqnr", type=float, metavar="DB", help="The least SQNR. [by precision]")
@click.option("--min-agreement", type=float, help="The least share of samples with the original's top class, 0 to 1.")
@click.option("--max-accuracy-drop", type=float, help="The most accuracy that may be lost, in percent points.")
@click.option("--layers", is_flag=True, help="Show which tensor inside each .tflite loses how many decibels.")
@click.option(
    "--write-cases", metavar="F.npz", help="Write the inputs for a device to run its .tflite on, and compare nothing."
)
@click.option("--recorded", multiple=True, metavar="F.npz", help="What a device answered to them, to compare as well.")
@click.option(
    "--html",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Write a report that opens offline. [EXPORT/report/VERSION.html]",
)
@click.option(
    "--failed-input", default="validate-failed.npz", show_default=True, help="Where the sample of a failure is written."
)
def validate(terminal: Terminal, /, **options: Any) -> None:
    """Compare every artifact of an export with its original.

    EXPORT is an export directory. Each signature of its SavedModel (in a session, as TF Serving runs it, and eagerly)
    and of its .tflite files (in the interpreter and in CompiledModel) is run on the evaluation samples, and on edge
    cases besides: zeros, ones, large and tiny magnitudes, odd batches. Exit code 4: numbers differ more than their
    precision may; 5: something else is wrong.
    """
    from attnexport.store import ExportDirectory
    from attnexport.store.manifest import FILE_NAME

    if not (options["export"] / FILE_NAME).exists():
        raise ArgumentError(f"{options['export']} is no export directory (no {FILE_NAME})")
    directory = ExportDirectory(options["export"])
    version = options["version"]
    entry = directory.newest() if version is None else directory.manifest().entry(version)
    terminal.silence_exit()
    _check_arguments(options)
    if options["write_cases"]:
        _write_cases(terminal, directory, entry, options)
        return
    outcome = validate_version(terminal, directory, entry, options)
    for note in outcome.notes:
        terminal.note(note)
    terminal.result(outcome.to_json(), outcome.show)
    outcome.end(terminal, Path(options["failed_input"]))


def _limits(options: dict[str, Any]) -> Limits:
    from attnexport.parity import Limits

    return Limits(**{{"min_sqnr": "min_sqnr_db"}.get(name, name): options[name] for name in _LIMITS})


def _check_arguments(options: dict[str, Any]) -> None:
    """Refuse what the arguments alone show, before TensorFlow is loaded."""
    _limits(options)
    evaluation = options["evaluation"]
    if evaluation is not None and not Path(evaluation).exists():
        raise ArgumentError(f"samples {evaluation} do not exist")
    if evaluation is None and options["max_accuracy_drop"] is not None:
        raise ArgumentError("--max-accuracy-drop needs --evaluation FILE, samples with 'labels'")
    for recording in options["recorded"]:
        if not Path(recording).exists():
            raise ArgumentError(f"recording {recording} does not exist")
    for name in ("server", "serve", "html", "layers", "recorded", *_LIMITS):
        if options["write_cases"] and options[name] not in (None, False, ()):
            raise ArgumentError(f"--{name.replace('_', '-')} has no use beside --write-cases, which compares nothing")


def validate_version(
    terminal: Terminal,
    directory: ExportDirectory,
    entry: VersionEntry,
    options: dict[str, Any],
    served: EmbeddedServer | None = None,
) -> Outcome:
    """Compare a version's artifacts, write the verdicts into the manifest and the report where one is asked for.

    Args:
        terminal: Where progress is shown.
        directory: The export.
        entry: The version.
        options: Those of the command.
        served: Where an embedded server has the export already.

    Raises:
        AttnexportError: where an artifact was changed or does not load, or a server is not there.
    """
    from .report import limits_of, record, report_path, write_report

    report = None if options["html"] is None else report_path(options["html"], directory, entry)
    unwritten = None
    created = datetime.now(UTC).isoformat(timespec="seconds")
    result, data, notes, inside, html = _validate(terminal, directory, entry, options, created, served)
    notes += record(directory, entry, result, data, created, limits_of(options, _LIMITS))
    if report is not None:
        try:
            write_report(report, html)
        except StorageError as error:  # what was found is told all the same
            report, unwritten = None, error
    shown = inside if options["layers"] else None
    return Outcome(directory.root, entry, result, data, tuple(notes), shown, report, unwritten)


def _validate(
    terminal: Terminal,
    directory: ExportDirectory,
    entry: VersionEntry,
    options: dict[str, Any],
    created: str,
    served: EmbeddedServer | None,
) -> tuple[Validation, ComparedData, list[str], Inside | None, str]:
    with ExitStack() as stack:
        with terminal.steps() as on_step:
            on_step("loading TensorFlow")
            from attnexport.parity import validate
            from attnexport.workflows.serve import serve

            from .device_cases import device_artifacts, device_batches, read_recording
            from .layers import look_inside
            from .report import compared_data, draw_report
            from .validation import (
                batches,
                check_limits_measured,
                count_batches,
                open_compared,
                open_subjects,
                other_lengths,
                unfit,
            )

            limits = _limits(options)
            loaded, original, data, notes = open_compared(directory, entry, options, limits, stack, on_step)
            subjects = open_subjects(directory, entry, stack)
            if options["server"]:
                name = options["model"] or directory.name
                subjects += _over_the_wire(options["server"], {name: entry.artifact("saved_model")}, entry, stack)
            if options["serve"] and served is None:
                on_step("starting the embedded server")
                served = stack.enter_context(serve(directory.root, in_child=True))
            if served is not None:
                subjects += _over_the_wire(served.grpc_address or "", _served_names(directory, entry), entry, stack)
            signatures = sorted({name for each in subjects for name in each.runner.signatures})
            notes += [
                f"signature {name!r} is not compared: {why}" for name in signatures if (why := unfit(original, name))
            ]
            signatures = [name for name in signatures if not unfit(original, name)]
            notes += other_lengths(original, data, subjects)
            for recording in options["recorded"]:
                on_step(f"reading {recording}")
                artifacts = device_artifacts(entry)
                cases = device_batches(original, data, artifacts)
                subjects.append(read_recording(Path(recording), artifacts, cases))
        with terminal.progress("comparing", count_batches(original, data, signatures)) as advance:
            result = validate(
                original.reference,
                subjects,
                batches(original, data, signatures),
                limits=limits,
                reference_name=original.reference_name,
                on_batch=lambda batch: advance(1),
            )
        check_limits_measured(result, options)
        inside, html = None, ""
        with terminal.steps() as on_step:
            if options["layers"] or options["html"] is not None:
                on_step("looking inside")
                inside = look_inside(directory, entry, loaded, original, data.samples.inputs)
                notes += inside.notes if options["layers"] else ()
            if options["html"] is not None:
                on_step("drawing the report")
                html = draw_report(directory, entry, original, subjects, data, result, created, notes, inside)
    return result, compared_data(data), notes, inside, html


def _write_cases(terminal: Terminal, directory: ExportDirectory, entry: VersionEntry, options: dict[str, Any]) -> None:
    path = Path(options["write_cases"])
    with ExitStack() as stack, terminal.steps() as on_step:
        on_step("loading TensorFlow")
        from .device_cases import device_artifacts, device_batches, write_cases
        from .validation import open_compared

        artifacts = device_artifacts(entry)
        _, original, data, notes = open_compared(directory, entry, options, _limits(options), stack, on_step)
        on_step("writing cases")
        count = write_cases(path, artifacts, device_batches(original, data, artifacts))
    for note in notes:
        terminal.note(note)
    document = {"schema": 1, "name": directory.name, "version": entry.version, "cases": str(path), "count": count}
    terminal.result(
        {**document, "artifacts": [each.path for each in artifacts], "notes": notes},
        lambda console: console.print(f"{count} cases for a device are in {path}", markup=False),
    )


def _over_the_wire(
    address: str, artifacts: dict[str, Artifact | None], entry: VersionEntry, stack: ExitStack
) -> list[Subject]:
    """Artifacts by the names that they are served under, through a server."""
    from attnexport.parity import Subject
    from attnexport.serving import Client, ClientRunner

    found = []
    for name, artifact in artifacts.items():
        if artifact is None:
            raise ArgumentError(f"version {entry.version} has no SavedModel that could be served")
        client = stack.enter_context(Client(address, model=name))
        runner = ClientRunner(client, version=entry.version)
        found.append(Subject.of(artifact, "gRPC", runner))
    return found


def _served_names(directory: ExportDirectory, entry: VersionEntry) -> dict[str, Artifact | None]:
    """What `attnexport serve EXPORT` calls the artifacts of a version."""
    names: dict[str, Artifact | None] = {}
    for artifact in entry.artifacts:
        if artifact.kind == "saved_model":
            names[directory.name] = artifact
        elif artifact.kind == "tflite":
            names[Path(artifact.path).stem] = artifact
    return names
