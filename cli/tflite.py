"""`attnexport tflite`: a model to .tflite files by recipes."""

from __future__ import annotations

import re
from typing import Any

import click

from attnexport.core.errors import ArgumentError, AttnexportError, ParityError
from attnexport.core.signature import Shape, TensorSpec
from attnexport.workflows import convert as workflow
from attnexport.workflows.choices import (
    AUTO,
    CALIBRATORS,
    DEFAULT_TRIALS,
    IO_TYPES,
    OBJECTIVES,
    RECIPES,
    PresetConfig,
)
from attnexport.workflows.conversion_search import SearchOptions

from .boundary import GATE, INTERRUPTED, NUMBERS
from .command import Choice, command
from .model_options import PRESET_OPTIONS, model_options
from .option_groups import grouped
from .terminal import Terminal

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmM]?)[bB]?")
_UNITS = {"": 1, "k": 1000, "m": 1000**2}
_GROUPS = {
    "Options": (),
    f"Search (--quantize {AUTO})": (
        "min_agreement",
        "max_accuracy_drop",
        "max_latency",
        "objective",
        "fastest",
        "trials",
    ),
    "Presets": PRESET_OPTIONS,
}


class Size(click.ParamType[int]):
    """A number of bytes, with k or M for thousands and millions."""

    name = "BYTES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = _SIZE.fullmatch(str(value))
        if not match or not float(match[1]):
            return self.fail(f"{value!r} is not a size in bytes; use 500000, 500k or 1.5M", param, ctx)
        return int(float(match[1]) * _UNITS[match[2].lower()])


@command(
    "tflite",
    cls=grouped(_GROUPS),
    example="""
    attnexport tflite model.keras --quantize int8 --calibration samples.npz
    attnexport tflite model.keras -q auto --min-sqnr 30 --calibration data.npz
    """,
)
@click.option(
    "-q",
    "--quantize",
    "recipes",
    multiple=True,
    default=("float32",),
    metavar="RECIPE",
    help=f"{', '.join(RECIPES)}, {AUTO} (a search), or a recipe's JSON file; repeatable. [float32]",
)
@click.option("--version", metavar="N", type=int, help="Version to add to. [the newest]")
@click.option("--calibration", metavar="FILE", help="Samples to calibrate with; every fifth is held out to compare on.")
@click.option("--evaluation", metavar="FILE", help="Samples, with or without labels, to report accuracy on.")
@click.option("--labels-for", metavar="OUTPUT", help="Output that labels are of. [the one whose classes they fit]")
@click.option("--batch", metavar="N", type=click.IntRange(1), help="Samples per call. [1]")
@click.option(
    "--signature",
    "signatures",
    metavar="NAME",
    multiple=True,
    help="Signature to add to serving_default, such as attention; repeatable.",
)
@click.option("--integer-only", is_flag=True, help="Fail unless every operator is integer (microcontrollers, NPUs).")
@click.option("--io", type=Choice("type", IO_TYPES), help="Type of inputs and outputs. [float32]")
@click.option(
    "--keep-float",
    multiple=True,
    metavar="REGEX|OP",
    help="What stays float32: tensor names, or an operator (SOFTMAX); repeatable.",
)
@click.option(
    "--calibrator",
    type=Choice("calibrator", ("auto", *CALIBRATORS)),
    metavar="NAME",
    help=f"How ranges are found: {', '.join(CALIBRATORS)}. [auto: the best one on held-out samples]",
)
@click.option(
    "--min-sqnr",
    type=float,
    metavar="DB",
    help="Least signal-to-quantization-noise ratio (SQNR). [the recipe's budget]",
)
@click.option("--max-size", type=Size(), help="Fail if a file is larger: 500000, 500k, 1.5M.")
@click.option("--allow-flex", is_flag=True, help="Allow TensorFlow operators, which LiteRT alone cannot run.")
@click.option("--keep-failed", is_flag=True, help="Keep files that fail their checks, under failed/.")
@click.option("--force", is_flag=True, help="Replace files that have the same name but other content.")
@click.option(
    "--min-agreement",
    type=float,
    metavar="SHARE",
    help="Least top-1 agreement, such as 0.99.",
)
@click.option(
    "--max-accuracy-drop",
    type=float,
    metavar="POINTS",
    help="Most accuracy to lose, in percentage points.",
)
@click.option(
    "--objective",
    type=Choice("objective", OBJECTIVES),
    help=f"What to minimize. [{OBJECTIVES[0]}]",
)
@click.option("--fastest", is_flag=True, help="The same as --objective latency.")
@click.option(
    "--max-latency",
    type=float,
    metavar="MS",
    help="Most ms that a call may take here, on one thread.",
)
@click.option(
    "--trials",
    metavar="N",
    type=click.IntRange(1),
    help=f"Most candidates to measure. [{DEFAULT_TRIALS}]",
)
@model_options
def tflite(
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
    recipes: tuple[str, ...],
    version: int | None,
    calibration: str | None,
    evaluation: str | None,
    labels_for: str | None,
    batch: int | None,
    signatures: tuple[str, ...],
    integer_only: bool,
    io: str | None,
    keep_float: tuple[str, ...],
    calibrator: str | None,
    min_sqnr: float | None,
    max_size: int | None,
    allow_flex: bool,
    keep_failed: bool,
    force: bool,
    min_agreement: float | None,
    max_accuracy_drop: float | None,
    objective: str | None,
    fastest: bool,
    max_latency: float | None,
    trials: int | None,
) -> None:
    """Convert a model for TFLite (LiteRT).

    MODEL is a .keras file, an export directory, a SavedModel directory or package.module:factory; without it a preset
    is built. The files are added to the newest version of its export; the model is exported first if it has none. Each
    file is run in a process of its own and compared with the original before it takes its name.
    """
    search = None
    if fastest:
        if objective not in (None, "latency"):
            raise ArgumentError(f"--fastest is --objective latency; --objective {objective} was given as well")
        objective = "latency"
    if any(each is not None for each in (min_agreement, max_accuracy_drop, objective, max_latency, trials)):
        search = SearchOptions(
            min_agreement, max_accuracy_drop, objective or OBJECTIVES[0], trials or DEFAULT_TRIALS, max_latency
        )
    try:
        with terminal.working() as progress:
            result = workflow.convert(
                model,
                recipes,
                calibration=calibration,
                evaluation=evaluation,
                labels_for=labels_for,
                output=output,
                name=name,
                version=version,
                imports=imports,
                steps=steps,
                batch=batch,
                shapes=shapes,
                inputs=inputs,
                new_signature=new_signature,
                signatures=signatures,
                integer_only=integer_only,
                io=io,
                keep_float=keep_float,
                calibrator=calibrator,
                min_sqnr_db=min_sqnr,
                max_size=max_size,
                search=search,
                allow_flex=allow_flex,
                keep_failed=keep_failed,
                force=force,
                progress=progress,
            )
    except AttnexportError as error:
        for note in getattr(error, "__notes__", ()):
            terminal.note(note)
        raise
    for note in result.notes:
        terminal.note(note)
    if result.search is not None and result.interrupted:
        terminal.note(f"interrupted after {len(result.search.trials)} candidates: the best so far was taken")
    terminal.show(result)
    for each in result.rejected:
        terminal.problem(". ".join(filter(None, (str(each.error), each.advice))))
    if result.interrupted:
        raise click.exceptions.Exit(INTERRUPTED)
    if result.rejected:
        only_numbers = all(isinstance(each.error, ParityError) for each in result.rejected)
        raise click.exceptions.Exit(NUMBERS if only_numbers else GATE)
