"""The precision search from beginning to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from attnexport.core.errors import ModelError, SamplesError
from attnexport.core.samples import Samples
from attnexport.core.signature import DEFAULT_SIGNATURE
from attnexport.parity.metrics import scores_name
from attnexport.tflite.graph import Graph
from attnexport.tflite.preparation import Prepared, check_patterns
from attnexport.tflite.recipes import Recipe
from attnexport.tflite.recipes.recipe import CALIBRATORS

from .families import best_named, calibrated_candidates, cheap_candidates, families, integer_core
from .goal import DEFAULT_TRIALS, SEARCHED, Goal
from .greedy import climb
from .result import SearchResult
from .selection import choose
from .trials import ExhaustedError, Trial, Trials
from .workers import FULL, Workers


def search(
    prepared: Prepared,
    goal: Goal,
    evaluation: Samples | None = None,
    *,
    keep_float: Sequence[str] = (),
    calibrators: Sequence[str] = CALIBRATORS,
    limit: int = DEFAULT_TRIALS,
    on_trial: Callable[[Trial, Trial | None], None] = lambda trial, best: None,
) -> SearchResult:
    """Find the recipe that meets a goal: of the smallest file, or of the lowest latency on this machine.

    What is lost is measured on the evaluation samples, and SQNR on the held-out calibration samples as well. All is the
    same from run to run but latencies, and what is chosen by them. An interruption (KeyboardInterrupt) ends the search
    with the best so far.

    Args:
        prepared: The model, with samples to calibrate with.
        goal: What may be lost, and what is to be small.
        evaluation: Samples that it was not calibrated with, with labels where accuracy is asked for; the held-out
            calibration samples if None.
        keep_float: What stays float32 in any case, as in `Recipe.keep_float`.
        calibrators: The ways to find ranges that may be tried.
        limit: The most candidates that are measured.
        on_trial: Called with each one, and the best so far.

    Raises:
        ModelError: if the model does not run here, or has nothing to judge it by.
        SamplesError: if the samples cannot say what the goal asks for.
    """
    _check(prepared, goal, evaluation)
    check_patterns(prepared.graph, [Recipe(SEARCHED, "float32", keep_float=tuple(keep_float))])
    interrupted, confirm = False, evaluation is not None and len(evaluation) > FULL
    with Workers(prepared, evaluation, calibrators) as workers:
        trials = Trials(workers, goal, limit, lambda trial: on_trial(trial, trials.best))
        try:
            explore(trials, prepared.graph, calibrators, keep_float)
            chosen = choose(trials, confirm=confirm)
        except KeyboardInterrupt:
            interrupted, chosen = True, trials.best
            if chosen is not None and confirm:
                confirmed = trials.confirm(chosen)
                chosen = confirmed if goal.met_by(confirmed.measured) else None
    return SearchResult(goal, tuple(trials.all), chosen, prepared.calibration.content_hash, interrupted)


def explore(trials: Trials, graph: Graph, calibrators: Sequence[str], keep_float: Sequence[str] = ()) -> None:
    """Measure the uniform candidates, then what the best of them can be changed to, until there are no more trials."""
    with suppress(ExhaustedError):
        trials.measure(cheap_candidates(keep_float))
        trials.measure(calibrated_candidates(calibrators, keep_float))
        int8 = best_named(trials.all, "int8")
        calibrator = None if int8 is None else int8.recipe.calibrator
        if calibrator is not None:
            trials.measure(integer_core(calibrator, keep_float))
        for family in sorted(families(graph, trials.all, calibrator), key=lambda each: trials.rank(each.start)):
            climb(family, trials)


def _check(prepared: Prepared, goal: Goal, evaluation: Samples | None) -> None:
    if prepared.graph.flex_operators:
        raise ModelError(
            f"auto must run the model, and no interpreter here can run {', '.join(prepared.graph.flex_operators)}"
        )
    if goal.max_accuracy_drop is not None and (evaluation is None or evaluation.labels is None):
        raise SamplesError("--max-accuracy-drop needs to know what is right: evaluation samples with 'labels'")
    if goal.min_agreement is not None or goal.max_accuracy_drop is not None:
        outputs = next(case.expected or {} for case in prepared.cases if case.signature == DEFAULT_SIGNATURE)
        if scores_name(outputs) is None:
            told = ", ".join(map(str, prepared.signatures[DEFAULT_SIGNATURE].outputs))
            raise ModelError(
                f"agreement and accuracy are of scores [n, classes], and the outputs are {told}; --min-sqnr says what "
                "may be lost of any output"
            )
