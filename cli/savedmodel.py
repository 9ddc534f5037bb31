"""`attnexport savedmodel`: a model to a SavedModel that TF Serving accepts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ArgumentError, ContentError
from attnexport.workflows.sizes import kilobytes

from .command import command
from .model_options import NumberOr, model_options, model_source
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.exporter import ExportResult


@command("savedmodel", example="attnexport savedmodel model.keras --output export --name classifier")
@model_options
@click.option("--version", type=int, help="The version to write. [the next one]")
@click.option("--input-name", "input_names", multiple=True, help="Name of an input, in order (a dict's keys: sorted).")
@click.option(
    "--output-name", "output_names", multiple=True, help="Name of an output, in order (a dict's keys: sorted)."
)
@click.option("--batch", type=int, help="Fix the batch to this size. [free]")
@click.option(
    "--signature",
    "signatures",
    multiple=True,
    help="Export this signature beside serving_default: attention, classify. [all that the model offers]",
)
@click.option("--labels", metavar="FILE", help="Names of the classes, one a line, for the signature classify.")
@click.option(
    "--warmup",
    type=NumberOr("FILE|N"),
    help="Warm-up records, one a sample and signature: samples, or how many synthetic ones. [3]",
)
def savedmodel(terminal: Terminal, **options: Any) -> None:
    """Export a model for TensorFlow Serving.

    MODEL is a .keras file, an export directory, a SavedModel directory or package.module:factory; without it a
    preset is built. It becomes the next version of a SavedModel with named signatures, which is loaded the way TF
    Serving loads it and compared with the original before it takes its name.
    """
    labels = None if options["labels"] is None else _read_labels(Path(options["labels"]))
    source, steps = model_source(options)
    passed_on = ("name", "version", "imports", "input_names", "output_names", "batch", "signatures", "warmup")
    with terminal.steps() as on_step:
        on_step("loading TensorFlow")
        from attnexport.exporter import export_saved_model

        result = export_saved_model(
            source,
            options["output"],
            steps=steps,
            labels=labels,
            on_step=on_step,
            **{key: options[key] for key in passed_on},
        )
    for note in result.notes:
        terminal.note(note)
    terminal.result(_document(result), lambda console: _show(console, result))


def _read_labels(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except FileNotFoundError as error:
        raise ArgumentError(f"labels {path} do not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError(f"labels {path} cannot be read: one name a line in UTF-8 is wanted") from error


def _document(result: ExportResult) -> dict[str, Any]:
    return {
        "name": result.directory.name,
        "version": result.entry.version,
        "directory": str(result.directory),
        "saved_model": str(result.path),
        "size_bytes": result.saved_model.size_bytes,
        "signatures": [asdict(signature) for signature in result.saved_model.signatures],
        "parity": result.verdict.to_json(),
        "warmup_records": result.warmup_records,
        "notes": list(result.notes),
    }


def _show(console: Console, result: ExportResult) -> None:
    from rich.table import Table
    from rich.text import Text

    size, name = kilobytes(result.saved_model.size_bytes), result.directory.name
    console.print(Text(f"{result.path} ({size}): {name} version {result.entry.version}\n"))
    table = Table(box=None, pad_edge=False)
    for title in ("signature", "takes", "gives"):
        table.add_column(title, overflow="fold")
    for signature in result.saved_model.signatures:
        inputs, outputs = ("\n".join(map(str, specs)) for specs in (signature.inputs, signature.outputs))
        table.add_row(*map(Text, (signature.name, inputs, outputs)))
    console.print(table)
    worst = result.verdict.worst
    console.print(Text(f"\nparity   {worst.description if worst else 'no cases'}, against {result.verdict.reference}"))
    console.print(Text(f"warm-up  {result.warmup_records} records, replayed\n"))
    base = result.path.parent.absolute()
    console.print(Text("Next:"))
    for line in (
        f"  attnexport serve {result.directory}",
        f"  tensorflow_model_server --port=8500 --model_name={result.directory.name} --model_base_path={base}",
        f"  saved_model_cli show --all --dir {result.path}",
    ):
        console.print(Text(line), soft_wrap=True)
