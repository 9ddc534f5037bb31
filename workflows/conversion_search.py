"""The search for a recipe that `convert` makes for `auto`: what to search for, the search itself, and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, ParityError
from attnexport.core.progress import Progress

from .choices import AUTO, CALIBRATORS, DEFAULT_TRIALS, OBJECTIVES
from .result import Block, Line, Table
from .sizes import kilobytes

if TYPE_CHECKING:
    from attnexport.core import Samples
    from attnexport.tflite import Prepared, Rejected
    from attnexport.tflite.search import Goal, Measurement, SearchResult, SearchSpace, Trial


@dataclass(frozen=True)
class SearchOptions:
    """What the recipe `auto` searches for; `min_sqnr_db` and `max_size` of `convert` are limits of it as well.

    Attributes:
        min_agreement: Least share of samples with the original's top-1 class, 0 to 1.
        max_accuracy_drop: Most accuracy to lose, in percentage points; needs labels.
        objective: What is to be small: "size", or "latency" on this machine.
        max_latency_ms: Most ms that a call may take on this machine, on one thread.
        trials: Most candidates to measure.

    Raises:
        ArgumentError: for an objective that does not exist, or a number of trials below 1.

    Example:
        >>> SearchOptions(min_agreement=0.99).objective
        'size'
    """

    min_agreement: float | None = None
    max_accuracy_drop: float | None = None
    objective: str = OBJECTIVES[0]
    trials: int = DEFAULT_TRIALS
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        from attnexport.core.errors import check_size, no_such

        check_size("trials", self.trials)
        if self.objective not in OBJECTIVES:
            raise ArgumentError(no_such("objective", self.objective, OBJECTIVES))


@dataclass(frozen=True)
class SearchRequest:
    """A search: its goal, and what it may try."""

    goal: Goal
    space: SearchSpace


def search_request(
    options: SearchOptions,
    *,
    min_sqnr_db: float | None,
    max_size: int | None,
    keep_float: Sequence[str],
    calibrator: str | None,
    labels_for: str | None,
) -> SearchRequest:
    """The search that options ask for.

    Raises:
        ArgumentError: if no limit says what may be lost, or one is out of its bounds.
    """
    from attnexport.tflite.search import Goal, SearchSpace

    goal = Goal(
        min_sqnr_db,
        options.min_agreement,
        options.max_accuracy_drop,
        max_size,
        options.objective,
        options.max_latency_ms,
    )
    calibrators = CALIBRATORS if calibrator in (None, "auto") else (calibrator,)
    space = SearchSpace(tuple(keep_float), calibrators, trials=options.trials, labels_for=labels_for)
    return SearchRequest(goal, space)


def run_search(
    prepared: Prepared,
    request: SearchRequest,
    evaluation: Samples | None,
    rejected: list[Rejected],
    progress: Progress,
) -> SearchResult:
    """Search; if nothing meets the goal, that is added to `rejected`, and the nearest file is kept if wanted."""
    from attnexport.tflite import Rejected
    from attnexport.tflite.conversion import quantized
    from attnexport.tflite.kept_files import keep
    from attnexport.tflite.search import search

    def on_trial(trial: Trial, best: Trial | None) -> None:
        best_so_far = "nothing yet" if best is None else f"{best.name}, {best.measured}"
        progress(
            f"candidate {trial.number} of at most {request.space.trials}, {trial.name}; best so far: {best_so_far}"
        )

    progress("starting the search")
    result = search(prepared, request.goal, evaluation, request.space, on_trial=on_trial)
    if result.chosen is None and result.trials:
        message = result.why
        if prepared.options.keep_failed is not None and not result.interrupted:
            path = keep(quantized(prepared, result.recipe), result.recipe, prepared.options.keep_failed)
            message += f" (kept for inspection as {path})"
        rejected.append(Rejected(result.recipe, ParityError(f"{AUTO}: {message}")))
    return result


def search_document(result: SearchResult, recipe: Path | None) -> dict[str, Any]:
    """A search as JSON values; `candidates` are parity's, for a picture."""
    from attnexport.parity.figures import finite_json

    front = {each.number for each in result.front}
    document = {
        "goal": asdict(result.goal),
        "chosen": None if result.chosen is None else result.chosen.name,
        "why": result.why,
        "interrupted": result.interrupted,
        "recipe": None if recipe is None else str(recipe),
        "trials": [_trial_document(result, each, each.number in front) for each in result.trials],
        "candidates": [asdict(each) for each in result.candidates],
    }
    checked: dict[str, Any] = finite_json(document)
    return checked


def search_blocks(result: SearchResult, recipe: Path | None, reference: str = "Keras") -> list[Block]:
    """The candidates that no other one beats, and why one was chosen; the original first, if it has an accuracy."""
    from attnexport.parity.figures import percentage

    columns = ("candidate", "size", "latency", "SQNR", "worst column", "agreement", "accuracy", "within", "")
    rows: list[tuple[str, ...]] = []
    own = (each.measured.figures.reference_accuracy for each in result.trials if each.measured.figures)
    if (accuracy := next((each for each in own if each is not None), None)) is not None:
        rows.append((reference, "", "", "", "", "", percentage(accuracy), "", ""))
    for each in result.front:
        within = "yes" if result.goal.met_by(each.measured) else "no"
        chosen = "chosen" if result.chosen is not None and each.number == result.chosen.number else ""
        rows.append((f"{each.number} {each.name}", *_cells(each.measured), within, chosen))
    blocks: list[Block] = [
        f"\n{len(result.trials)} candidates for {result.goal}; no other one beats these (latency over float32's):\n",
        Table(columns, rows),
        Line(f"\n{result.why}"),
    ]
    if recipe is not None:
        blocks.append(Line(f"\nThe recipe is {recipe}: -q {recipe} makes the same file, given the same --calibration."))
    return blocks


def search_html(result: SearchResult) -> str:
    """Pictures of the candidates: SQNR over size, and over latency."""
    from html import escape

    from attnexport.parity.report.trade_off import trade_offs

    pictures = trade_offs(result.candidates)
    return "\n".join(f'<figure><img src="{each.source}" alt="{escape(each.alt)}"></figure>' for each in pictures)


def _trial_document(result: SearchResult, trial: Trial, on_front: bool) -> dict[str, Any]:
    return {
        "number": trial.number,
        "name": trial.name,
        **trial.measured.to_dict(),
        "changes": {level: list(names) for level, names in trial.changes.items()},
        "within": result.goal.met_by(trial.measured),
        "on_front": on_front,
    }


def _cells(measured: Measurement) -> tuple[str, ...]:
    from attnexport.parity.figures import cells

    sqnr, column, _, agreement, accuracy = cells(measured.figures)
    ratio = "" if measured.latency_ratio is None else f"{measured.latency_ratio:.2f}"
    return kilobytes(measured.size_bytes), ratio, sqnr, column, agreement, accuracy
