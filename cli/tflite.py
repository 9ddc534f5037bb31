"""`attnexport tflite`: a model to .tflite files by recipes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ArgumentError, AttnexportError, ParityError, no_such
from attnexport.tflite.recipes import RECIPES, Recipe, load_recipe
from attnexport.tflite.recipes.recipe import CALIBRATORS, IO_TYPES

from .boundary import GATE, INTERRUPTED, NUMBERS
from .command import Choice, command
from .model_options import model_options, model_source
from .terminal import Terminal
from .tflite_auto import AUTO, auto_options, auto_request
from .tflite_result import result_document, show_result

if TYPE_CHECKING:
    from attnexport.tflite import Rejected

_WAY_OUT = "More or better --calibration samples, another recipe, --keep-float or a lower --min-sqnr may help"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmM]?)[bB]?")
_UNITS = {"": 1, "k": 1000, "m": 1000**2}


class Size(click.ParamType[int]):
    """A number of bytes, with k or M for thousands and millions."""

    name = "BYTES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = _SIZE.fullmatch(str(value))
        if not found or not float(found[1]):
            return self.fail(f"{value!r} is no size in bytes, such as 500000, 500k or 1.5M", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].lower()])


@command("tflite", example="attnexport tflite model.keras --quantize int8 --calibration samples.npz")
@model_options
@click.option(
    "-q",
    "--quantize",
    "quantize",
    multiple=True,
    metavar="RECIPE",
    help=f"{', '.join(RECIPES)}, {AUTO} (see --min-agreement), or a recipe's JSON file; repeatable. [float32]",
)
@click.option("--version", type=int, help="The version to add to. [the newest]")
@click.option(
    "--calibration", metavar="FILE", help="Samples to find ranges with; every fifth is held out to compare on."
)
@click.option("--evaluation", metavar="FILE", help="Samples, with labels or without, to report accuracy on.")
@click.option("--batch", type=click.IntRange(1), help="Samples in one call. [1]")
@click.option("--signature", "signatures", multiple=True, help="A signature beside serving_default, such as attention.")
@click.option("--integer-only", is_flag=True, help="Fail unless every operator is integer (microcontrollers, NPUs).")
@click.option("--io", type=Choice("type", IO_TYPES), help="Type of inputs and outputs. [float32]")
@click.option(
    "--keep-float",
    multiple=True,
    metavar="REGEX|OP",
    help="What stays float32: tensor names, or an operator (SOFTMAX).",
)
@click.option(
    "--calibrator", type=Choice("calibrator", ("auto", *CALIBRATORS)), help="How ranges are found. [auto: the best one]"
)
@auto_options
@click.option("--min-sqnr", type=float, metavar="DB", help="The least SQNR against the original. [the recipe's budget]")
@click.option("--max-size", type=Size(), help="Fail where a file is larger: 500000, 500k, 1.5M.")
@click.option("--allow-flex", is_flag=True, help="Let TensorFlow's operators in, which LiteRT alone cannot run.")
@click.option("--keep-failed", is_flag=True, help="Keep a file that fails its checks, under failed/.")
@click.option("--force", is_flag=True, help="Replace files of the same name and other content.")
def tflite(terminal: Terminal, **options: Any) -> None:
    """Convert a model for TFLite (LiteRT).

    MODEL is a .keras file, an export directory, a SavedModel directory or package.module:factory; without it a preset
    is built. The files are added to the newest version of its export, which is made first where there is none. Each is
    run in a process of its own and compared with the original before it takes its name.
    """
    recipes, auto = _recipes(options), auto_request(options)
    source, steps = model_source(options)
    passed_on = (
        "signatures", "batch", "calibration", "evaluation", "allow_flex", "max_size", "keep_failed", "force",
    )  # fmt: skip
    with terminal.steps() as on_step:
        on_step("loading TensorFlow")
        from .tflite_samples import check_samples
        from .tflite_versions import convert_version
        from .versions import export_first, find

        found = find(source, options, on_step)
        check_samples(recipes, auto, found.kind, options)
        entry = found.entry
        notes: tuple[str, ...] = ()
        if entry is None:
            entry, notes = export_first(found, options, on_step)
        result = convert_version(
            found.directory,
            entry,
            recipes,
            auto=auto,
            steps=steps,
            on_step=on_step,
            **{key: options[key] for key in passed_on},
        )
    told = [*notes, *result.notes, *_advice(recipes)]
    for note in told:
        terminal.note(note)
    interrupted = result.search is not None and result.search.interrupted
    if interrupted and not result.files:
        raise KeyboardInterrupt
    if result.search is not None and interrupted:
        terminal.note(f"interrupted after {len(result.search.trials)} candidates: the best so far was taken")
    if not result.files:
        raise _joined(result.rejected)
    terminal.result(result_document(result, told), lambda console: show_result(console, result))
    for each in result.rejected:
        terminal.problem(str(each.error))
    if interrupted:
        raise click.exceptions.Exit(INTERRUPTED)
    if result.rejected:
        only_numbers = all(isinstance(each.error, ParityError) for each in result.rejected)
        raise click.exceptions.Exit(NUMBERS if only_numbers else GATE)


def _joined(rejected: Sequence[Rejected]) -> AttnexportError:
    """The failures of all recipes as one; what could be tried stands behind those that numbers alone have."""
    said = "; ".join(str(each.error) for each in rejected)
    kinds = [type(each.error) for each in rejected]
    if all(issubclass(kind, ParityError) for kind in kinds):
        return ParityError(f"{said}. {_WAY_OUT}")
    return next(kind for kind in kinds if not issubclass(kind, ParityError))(said)


def _recipes(options: dict[str, Any]) -> list[Recipe]:
    """The recipes that are named, without the one that is to be searched for."""
    found = []
    searching = AUTO in options["quantize"]  # whose budget is not that of recipes beside it
    for each in options["quantize"] or ("float32",):
        if each == AUTO:
            continue
        if each in RECIPES:
            recipe = RECIPES[each]
        elif each.endswith(".json") or Path(each).exists():
            recipe = load_recipe(Path(each))
        else:
            raise ArgumentError(f"{no_such('recipe', each, (*RECIPES, AUTO))}, or a recipe's JSON file")
        found.append(
            recipe.altered(
                integer_only=options["integer_only"],
                io=options["io"],
                keep_float=options["keep_float"],
                calibrator=options["calibrator"],
                min_sqnr_db=None if searching else options["min_sqnr"],
            )
        )
    names = [*(recipe.name for recipe in found), *(AUTO for each in options["quantize"] if each == AUTO)]
    if len(set(names)) < len(names):
        raise ArgumentError(f"two recipes are called {next(each for each in names if names.count(each) > 1)!r}")
    return found


def _advice(recipes: list[Recipe]) -> list[str]:
    if any(recipe.activations == "int16" for recipe in recipes):
        return ["int16 activations have no fast kernels on this CPU: expect several times float32's latency"]
    return []
