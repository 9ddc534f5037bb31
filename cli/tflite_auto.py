"""`attnexport tflite --quantize auto`: its options, the search itself, and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ArgumentError, ParityError
from attnexport.tflite.recipes.recipe import CALIBRATORS
from attnexport.tflite.search.goal import DEFAULT_TRIALS, OBJECTIVES, SEARCHED, Goal
from attnexport.workflows.sizes import kilobytes

from .command import Choice

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.core import Samples
    from attnexport.tflite import Prepared, Rejected
    from attnexport.tflite.search import Measurement, SearchResult, Trial

AUTO = SEARCHED  # as a user names it
_GOALS = ("min_agreement", "max_accuracy_drop", "objective", "trials")


@dataclass(frozen=True)
class AutoRequest:
    """What `--quantize auto` is to search for, how long, and among what."""

    goal: Goal
    limit: int
    keep_float: tuple[str, ...]
    calibrators: tuple[str, ...]


def auto_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `--quantize auto`; it has --min-sqnr and --max-size in common with other recipes."""
    for option in (
        click.option(
            "--trials", type=click.IntRange(1), help=f"auto: the most candidates to measure. [{DEFAULT_TRIALS}]"
        ),
        click.option("--objective", type=Choice("objective", OBJECTIVES), help="auto: what is to be small. [size]"),
        click.option(
            "--max-accuracy-drop", type=float, metavar="POINTS", help="auto: the most accuracy to lose, in percent."
        ),
        click.option(
            "--min-agreement", type=float, metavar="SHARE", help="auto: the least top-1 agreement, such as 0.99."
        ),
    ):
        function = option(function)
    return function


def auto_request(options: dict[str, Any]) -> AutoRequest | None:
    """What is asked for, None where auto is not.

    Raises:
        ArgumentError: where the options contradict each other, or nothing says what may be lost.
    """
    if AUTO not in options["quantize"]:
        given = next((name for name in _GOALS if options[name] is not None), None)
        if given is not None:
            raise ArgumentError(f"--{given.replace('_', '-')} is for --quantize {AUTO}")
        return None
    if options["integer_only"] or options["io"]:
        raise ArgumentError(
            f"{AUTO} looks among files with float inputs; --integer-only and --io are for recipes that are named"
        )
    goal = Goal(
        min_sqnr_db=options["min_sqnr"],
        min_agreement=options["min_agreement"],
        max_accuracy_drop=options["max_accuracy_drop"],
        max_size=options["max_size"],
        objective=options["objective"] or OBJECTIVES[0],
    )
    calibrator = options["calibrator"]
    calibrators = CALIBRATORS if calibrator in (None, "auto") else (calibrator,)
    return AutoRequest(goal, options["trials"] or DEFAULT_TRIALS, tuple(options["keep_float"]), calibrators)


def run_search(
    prepared: Prepared,
    request: AutoRequest,
    evaluation: Samples | None,
    rejected: list[Rejected],
    keep_failed: Path | None,
    on_step: Callable[[str], None],
) -> SearchResult:
    """Search; where nothing meets the goal, that is among the rejected, and the nearest file is kept if wanted."""
    from attnexport.tflite import Rejected
    from attnexport.tflite.conversion import keep, quantized
    from attnexport.tflite.search import search

    def on_trial(trial: Trial, best: Trial | None) -> None:
        so_far = "nothing yet" if best is None else f"{best.name}, {best.measured}"
        on_step(f"candidate {trial.number} of at most {request.limit}, {trial.name}; best so far: {so_far}")

    on_step("starting the search")
    found = search(
        prepared,
        request.goal,
        evaluation,
        keep_float=request.keep_float,
        calibrators=request.calibrators,
        limit=request.limit,
        on_trial=on_trial,
    )
    if found.chosen is None and found.trials:
        told = found.why
        if keep_failed is not None and not found.interrupted:
            told += f" (kept for inspection as {keep(quantized(prepared, found.recipe), found.recipe, keep_failed)})"
        rejected.append(Rejected(found.recipe, ParityError(f"{AUTO}: {told}")))
    return found


def search_document(found: SearchResult, recipe: Path | None) -> dict[str, Any]:
    """A search as JSON values; `candidates` are parity's, for a picture."""
    from attnexport.parity.figures import finite_json

    front = {each.number for each in found.front}
    document = {
        "goal": asdict(found.goal),
        "chosen": None if found.chosen is None else found.chosen.name,
        "why": found.why,
        "interrupted": found.interrupted,
        "recipe": None if recipe is None else str(recipe),
        "trials": [_trial_document(found, each, each.number in front) for each in found.trials],
        "candidates": [asdict(each) for each in found.candidates],
    }
    checked: dict[str, Any] = finite_json(document)
    return checked


def show_search(console: Console, found: SearchResult, recipe: Path | None) -> None:
    """Draw the candidates that no other one beats, and say why one was chosen."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("candidate", "size", "latency", "SQNR", "agreement", "accuracy", "within", ""):
        table.add_column(title, overflow="fold")
    for each in found.front:
        within = "yes" if found.goal.met_by(each.measured) else "no"
        chosen = "chosen" if found.chosen is not None and each.number == found.chosen.number else ""
        table.add_row(*map(Text, (f"{each.number} {each.name}", *_told(each.measured), within, chosen)))
    console.print(
        Text(f"\n{len(found.trials)} candidates for {found.goal}; no other one beats these (latency over float32's):\n")
    )
    console.print(table)
    console.print(Text(f"\n{found.why}"), soft_wrap=True)
    if recipe is not None:
        console.print(
            Text(f"\nThe recipe is {recipe}: -q {recipe} makes the same file, given the same --calibration."),
            soft_wrap=True,
        )


def _trial_document(found: SearchResult, trial: Trial, on_front: bool) -> dict[str, Any]:
    return {
        "number": trial.number,
        "name": trial.name,
        **trial.measured.to_dict(),
        "changes": {level: list(names) for level, names in trial.changes.items()},
        "within": found.goal.met_by(trial.measured),
        "on_front": on_front,
    }


def _told(measured: Measurement) -> Sequence[str]:
    from attnexport.parity.figures import cells

    ratio = measured.latency_ratio
    sqnr, _, agreement, accuracy = cells(measured.figures)
    return (
        kilobytes(measured.size_bytes),
        "" if ratio is None else f"{ratio:.2f}",
        sqnr,
        agreement,
        accuracy,
    )
