"""`attnexport validate`: every artifact of an export against its original, in every runtime."""

from __future__ import annotations

from pathlib import Path

import click

from attnexport.core.errors import ArgumentError
from attnexport.core.process import import_away
from attnexport.workflows import validate as workflow

from .command import command
from .outcome import end
from .terminal import Terminal

_EXAMPLE = """
attnexport validate export/classifier --evaluation held-out.npz --html
attnexport validate export/classifier --min-sqnr 40 --layers
"""


@command("validate", example=_EXAMPLE)
@click.argument("export", type=click.Path(path_type=Path))
@click.option("--version", metavar="N", type=int, help="Version to validate. [the newest]")
@click.option(
    "--against", type=int, metavar="VERSION", help="Also show how sizes and figures differ from this version's."
)
@click.option("--evaluation", metavar="FILE", help="Samples to compare on, with labels or without. [synthetic]")
@click.option("--labels-for", metavar="OUTPUT", help="Output that labels are of. [the one whose classes they fit]")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Module that registers custom layers.")
@click.option("--server", metavar="HOST:PORT", help="Also compare the SavedModel that this server serves.")
@click.option("--model", metavar="NAME", help="Name the server serves it under. [the export's]")
@click.option("--serve", is_flag=True, help="Also compare over gRPC, served by the embedded server.")
@click.option(
    "--rtol", metavar="SHARE", type=float, help="With --atol: elements may differ by atol + rtol * |original|."
)
@click.option("--atol", metavar="NUMBER", type=float, help="See --rtol.")
@click.option(
    "--min-sqnr", type=float, metavar="DB", help="Least signal-to-quantization-noise ratio (SQNR). [by precision]"
)
@click.option(
    "--min-agreement", metavar="SHARE", type=float, help="Least share of samples with the original's top class, 0 to 1."
)
@click.option("--max-accuracy-drop", metavar="POINTS", type=float, help="Most accuracy to lose, in percentage points.")
@click.option("--layers", is_flag=True, help="Show which tensor inside each .tflite loses how many decibels.")
@click.option(
    "--node-data", metavar="FILE.json", help="Write what each tensor loses, for Model Explorer to colour its graph."
)
@click.option("--write-cases", metavar="FILE.npz", help="Write the inputs for a device to run, and compare nothing.")
@click.option(
    "--recorded", multiple=True, metavar="FILE.npz", help="Also compare the outputs that a device recorded for them."
)
@click.option(
    "--html",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Write a report that opens offline. [EXPORT/report/VERSION.html]",
)
@click.option(
    "--digest", metavar="FILE|sha256:HEX", help="What the version must be, as --write-digest wrote or printed it."
)
@click.option(
    "--write-digest",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="If it passes, write the hashes of its files for sha256sum. [EXPORT/digest/VERSION.sha256]",
)
@click.option(
    "--failed-input",
    default="validate-failed.npz",
    show_default=True,
    metavar="FILE.npz",
    help="Where to write the worst sample of the first failure.",
)
def validate(
    terminal: Terminal,
    export: Path,
    version: int | None,
    against: int | None,
    evaluation: str | None,
    labels_for: str | None,
    imports: tuple[str, ...],
    server: str | None,
    model: str | None,
    serve: bool,
    rtol: float | None,
    atol: float | None,
    min_sqnr: float | None,
    min_agreement: float | None,
    max_accuracy_drop: float | None,
    layers: bool,
    node_data: str | None,
    write_cases: str | None,
    recorded: tuple[str, ...],
    html: str | None,
    digest: str | None,
    write_digest: str | None,
    failed_input: str,
) -> None:
    """Compare every artifact of an export with its original.

    EXPORT is an export directory. Each signature of its SavedModel (in a session, as TF Serving runs it, and eagerly)
    and of its .tflite files (in the interpreter and in CompiledModel) is run on the evaluation samples and on edge
    cases: zeros, ones, large and tiny magnitudes, odd batches. Exit code 4: numbers differ by more than their budget;
    5: another check failed.
    """
    limits = workflow.Limits(rtol, atol, min_sqnr, min_agreement, max_accuracy_drop)
    terminal.silence_exit()
    if write_cases is not None:
        comparing: dict[str, object] = {
            "--server": server,
            "--serve": serve,
            "--html": html,
            "--layers": layers,
            "--recorded": recorded,
            "--node-data": node_data,
            "--against": against,
            "--labels-for": labels_for,
            "--digest": digest,
            "--write-digest": write_digest,
        }
        limiting = {f"--{name.removesuffix('_db').replace('_', '-')}": value for name, value in limits.given().items()}
        for option, value in (comparing | limiting).items():
            if value not in (None, False, ()):
                raise ArgumentError(f"{option} cannot be used with --write-cases, which compares nothing")
        with terminal.working() as progress:
            cases = workflow.write_cases(
                export, write_cases, version=version, evaluation=evaluation, imports=imports, progress=progress
            )
        for note in cases.notes:
            terminal.note(note)
        terminal.show(cases)
        return
    if html is not None:
        import_away("matplotlib")
    with terminal.working() as progress:
        result = workflow.validate(
            export,
            version=version,
            evaluation=evaluation,
            imports=imports,
            server=server,
            model=model,
            serve=serve,
            limits=limits,
            labels_for=labels_for,
            layers=layers,
            recorded=recorded,
            html=False if html is None else html or True,
            node_data=node_data,
            against=against,
            digest=digest,
            write_digest=False if write_digest is None else write_digest or True,
            progress=progress,
        )
    for note in result.notes:
        terminal.note(note)
    for warning in result.warnings:
        terminal.warn(warning)
    terminal.show(result)
    end(terminal, result, Path(failed_input))
