"""`attnexport savedmodel`: a model to a SavedModel that TF Serving accepts."""

from __future__ import annotations

from pathlib import Path

import click

from attnexport.core.errors import ArgumentError, ContentError
from attnexport.core.reading import read_bytes
from attnexport.core.signature import Shape, TensorSpec
from attnexport.workflows import export as workflow
from attnexport.workflows.choices import PresetConfig

from .command import command
from .model_options import PRESET_OPTIONS, NumberOr, model_options
from .option_groups import grouped
from .terminal import Terminal

_MAX_LABELS_BYTES = 1 << 24


@command(
    "savedmodel",
    cls=grouped({"Options": (), "Presets": PRESET_OPTIONS}),
    example="""
    attnexport savedmodel model.keras --output export --name classifier
    attnexport savedmodel --preset multihead-classifier --pooling average
    """,
    renamed={"--version": "--as-version"},
)
@model_options
@click.option("--as-version", "version", type=int, metavar="N", help="Number of the new version. [the next one]")
@click.option(
    "--input-name",
    "input_names",
    metavar="NAME",
    multiple=True,
    help="Name of an input; repeat for each input, in order (dicts by their sorted keys).",
)
@click.option(
    "--output-name",
    "output_names",
    metavar="NAME",
    multiple=True,
    help="Name of an output; repeat for each output, in order (dicts by their sorted keys).",
)
@click.option("--batch", metavar="N", type=int, help="Fix the batch to this size. [free]")
@click.option(
    "--signature",
    "signatures",
    metavar="NAME",
    multiple=True,
    help="Signature to export beside serving_default: attention, classify; repeatable. [all that the model offers]",
)
@click.option("--labels", metavar="FILE", help="Names of the classes, one a line, for the signature classify.")
@click.option(
    "--warmup",
    type=NumberOr("FILE|N"),
    help="Samples to make warm-up records of, or how many synthetic ones. [3]",
)
@click.option("--no-inherit", is_flag=True, help="Forget the names and labels that the last version was given.")
def savedmodel(
    terminal: Terminal,
    /,
    *,
    model: str | PresetConfig,
    steps: tuple[int, ...],
    shapes: dict[str, Shape],
    inputs: list[TensorSpec],
    new_signature: bool,
    imports: tuple[str, ...],
    output: str | None,
    name: str | None,
    version: int | None,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    batch: int | None,
    signatures: tuple[str, ...],
    labels: str | None,
    warmup: int | str | None,
    no_inherit: bool,
) -> None:
    """Export a model for TensorFlow Serving.

    MODEL is a .keras file, an export directory, a SavedModel directory or package.module:factory; without it a
    preset is built. It becomes the next version of a SavedModel with named signatures, which is loaded the way TF
    Serving loads it and compared with the original before it takes its name.
    """
    if len(steps) > 1:
        raise ArgumentError(
            "a SavedModel takes any length where its steps are free, so --steps is given once; several are for tflite"
        )
    names = None if labels is None else _read_labels(Path(labels))
    with terminal.working() as progress:
        progress("loading TensorFlow")
        result = workflow.export_saved_model(
            model,
            output,
            name=name,
            version=version,
            imports=imports,
            input_names=input_names,
            output_names=output_names,
            steps=next(iter(steps), None),
            batch=batch,
            shapes=shapes,
            inputs=inputs,
            new_signature=new_signature,
            signatures=signatures,
            labels=names,
            warmup=warmup,
            inherit=not no_inherit,
            progress=progress,
        )
    for note in result.notes:
        terminal.note(note)
    terminal.show(result)


def _read_labels(path: Path) -> list[str]:
    try:
        return read_bytes(path, _MAX_LABELS_BYTES).decode("utf-8-sig").rstrip().splitlines()
    except FileNotFoundError as error:
        raise ArgumentError(f"labels {path} do not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError(f"labels {path} cannot be read: one name a line in UTF-8 is expected") from error
