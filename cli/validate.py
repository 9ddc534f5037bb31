"""`attnexport validate`: every artifact of an export against its original, in every runtime."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ArgumentError

from .boundary import GATE, NUMBERS
from .command import command
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.core import Artifact, ExportDirectory, VersionEntry
    from attnexport.parity import Check, Subject, Validation

_LIMITS = ("rtol", "atol", "min_sqnr", "min_agreement", "max_accuracy_drop")


@command("validate")
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
@click.option(
    "--failed-input", default="validate-failed.npz", show_default=True, help="Where the sample of a failure is written."
)
def validate(terminal: Terminal, **options: Any) -> None:
    """Compare every artifact of an export with its original.

    EXPORT is an export directory. Each signature of its SavedModel (in a session, as TF Serving runs it, and eagerly)
    and of its .tflite files (in the interpreter and in CompiledModel) is run on the evaluation samples, and on edge
    cases besides: zeros, ones, large and tiny magnitudes, odd batches. Exit code 4: numbers differ more than their
    precision may; 5: something else is wrong.
    """
    from attnexport.core import ExportDirectory
    from attnexport.core.manifest import FILE_NAME

    if not (options["export"] / FILE_NAME).exists():
        raise ArgumentError(f"{options['export']} is no export directory (no {FILE_NAME})")
    directory = ExportDirectory(options["export"])
    version = options["version"]
    entry = directory.newest() if version is None else directory.manifest().entry(version)
    terminal.silence_exit()
    result, notes = _validate(terminal, directory, entry, options)
    for note in notes:
        terminal.note(note)
    terminal.result(_document(directory, entry, result, notes), lambda console: _show(console, directory, result))
    if not result:
        _report_failure(terminal, result, Path(options["failed_input"]))
        raise click.exceptions.Exit(NUMBERS if result.only_numbers_failed else GATE)


def _validate(
    terminal: Terminal, directory: ExportDirectory, entry: VersionEntry, options: dict[str, Any]
) -> tuple[Validation, list[str]]:
    with ExitStack() as stack:
        with terminal.steps() as on_step:
            on_step("loading TensorFlow")
            from attnexport.core import load_samples
            from attnexport.exporter import open_original, open_version
            from attnexport.exporter.models import import_modules
            from attnexport.parity import Tolerance, validate

            from .embedded import serving
            from .validation import Data, batches, check_unchanged, count_batches, open_subjects, synthetic_data

            limits = {{"min_sqnr": "min_sqnr_db"}.get(name, name): options[name] for name in _LIMITS}
            tolerance = Tolerance(**limits)
            import_modules(options["imports"])
            on_step("comparing hashes")
            check_unchanged(directory, entry)
            on_step("opening the original")
            loaded = open_version(directory, entry)
            labels = entry.source.get("labels")
            original = stack.enter_context(closing(open_original(loaded, classify=True, labels=labels)))
            subjects = open_subjects(directory, entry, stack)
            if options["server"]:
                name = options["model"] or directory.name
                subjects += _over_the_wire(options["server"], {name: entry.artifact("saved_model")}, entry, stack)
            if options["serve"]:
                on_step("starting the embedded server")
                served = stack.enter_context(serving(directory.root))
                subjects += _over_the_wire(served.grpc, _served_names(directory, entry), entry, stack)
            signatures = sorted({name for each in subjects for name in each.runner.signatures})
            notes = [
                f"signature {name!r} is not compared: it is no endpoint that the original offers by itself"
                for name in signatures
                if name not in original.signatures
            ]
            signatures = [name for name in signatures if name in original.signatures]
            if options["evaluation"] is None:
                data = synthetic_data(original)
                notes.append(f"without --evaluation, {data.name} are compared: they prove the computation, not its use")
            else:
                aliases = {old: new for new, old in entry.names.items()}
                samples = load_samples(Path(options["evaluation"]), original.inputs, aliases)
                data = Data(samples, f"{len(samples)} evaluation samples", given=True)
                notes += samples.notes
        with terminal.progress("comparing", count_batches(original, data, signatures)) as advance:
            result = validate(
                original.reference,
                subjects,
                batches(original, data, signatures),
                tolerance=tolerance,
                reference_name=original.reference_name,
                on_batch=lambda batch: advance(1),
            )
    return result, notes


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
        client.wait_until_ready(version=entry.version)
        runner = ClientRunner(client, version=entry.version)
        found.append(Subject(artifact.path, "gRPC", artifact.precision, runner))
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


def _document(directory: ExportDirectory, entry: VersionEntry, result: Validation, notes: list[str]) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": directory.name,
        "version": entry.version,
        "reference": result.reference,
        "passed": bool(result),
        "checks": [check.to_json() for check in result.checks],
        "notes": notes,
    }


def _report_failure(terminal: Terminal, result: Validation, path: Path) -> None:
    import io

    import numpy as np

    from attnexport.core.files import replacing, writing

    first = result.failures[0]
    terminal.problem(f"{len(result.failures)} of {len(result.checks)} checks failed, the first: {first}")
    if first.offending:
        content = io.BytesIO()  # numpy would add a suffix to a temporary name
        np.savez(content, **first.offending)  # type: ignore[arg-type]
        with writing(path), replacing(path) as temporary:
            temporary.write_bytes(content.getvalue())
        terminal.problem(f"the sample is in {path}; --evaluation {path} runs it again")


def _show(console: Console, directory: ExportDirectory, result: Validation) -> None:
    from rich.table import Table
    from rich.text import Text

    console.print(Text(f"{directory.root}, against {result.reference}\n"))
    table = Table(box=None, pad_edge=False)
    for title in ("artifact", "runtime", "signature", "SQNR", "max error", "agreement", "accuracy", "edges", "verdict"):
        table.add_column(title, overflow="fold")
    groups: dict[tuple[str, str, str], list[Check]] = defaultdict(list)
    for check in result.checks:
        groups[check.artifact, check.runtime, check.signature].append(check)
    for names, checks in groups.items():
        table.add_row(*map(Text, (*names, *_figures(checks))))
    console.print(table)


def _figures(checks: list[Check]) -> tuple[str, ...]:
    """The worst figures of an artifact's signature in a runtime."""
    on_data = [check for check in checks if not check.is_edge]
    measured = [check.measured for check in on_data if check.measured is not None]
    edges = {check.case for check in checks if check.is_edge}
    failed = {check.case for check in checks if check.is_edge and check.problem}
    passed = not any(check.problem for check in checks)
    told = f"{len(edges) - len(failed)} of {len(edges)}" if edges else "none"
    if not measured:
        return ("equal" if on_data else "", "", "", "", told, "passed" if passed else "FAILED")
    worst = min(measured, key=lambda each: each.sqnr_db)
    agreements = [each.top_1_agreement for each in measured if each.top_1_agreement is not None]
    accuracies = [each.accuracy for each in measured if each.accuracy is not None]
    return (
        "equal" if worst.sqnr_db == float("inf") else f"{worst.sqnr_db:.1f} dB",
        f"{max(each.max_error for each in measured):.2g}",
        f"{min(agreements):.4f}" if agreements else "",
        f"{min(accuracies):.1%}" if accuracies else "",
        told,
        "passed" if passed else "FAILED",
    )
