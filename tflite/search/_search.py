"""The precision search."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from attnexport.core.errors import ModelError, SamplesError
from attnexport.core.samples import Samples
from attnexport.core.signature import DEFAULT_SIGNATURE
from attnexport.parity.metrics import scores_name
from attnexport.tflite.graph import Graph
from attnexport.tflite.preparation import Prepared, check_patterns
from attnexport.tflite.recipes import Recipe
from attnexport.tflite.recipes.recipe import FITTED

from .families import (
    best_named,
    calibrated_candidates,
    cheap_candidates,
    families,
    fitted_candidates,
    integer_core,
)
from .goal import SEARCHED, Goal
from .greedy import climb
from .result import SearchResult
from .selection import choose
from .space import SearchSpace
from .trials import ExhaustedError, Trial, Trials
from .workers import MAX_FULL, Workers


def search(
    prepared: Prepared,
    goal: Goal,
    evaluation: Samples | None = None,
    space: SearchSpace | None = None,
    *,
    on_trial: Callable[[Trial, Trial | None], None] = lambda trial, best: None,
) -> SearchResult:
    """Find the recipe that meets a goal with the smallest file, or the lowest latency on this machine.

    Losses are measured on the evaluation samples; SQNR on the held-out calibration samples as well. Everything is the
    same from run to run, except latencies and choices by latency. An interruption (KeyboardInterrupt) ends the search
    with the best candidate so far.

    Args:
        prepared: The model, with calibration samples.
        goal: Limits for the losses, and what to minimize.
        evaluation: Samples the model is not calibrated with, with labels if the goal limits accuracy; the held-out
            calibration samples if None.
        space: What may be tried; the defaults of SearchSpace if None.
        on_trial: Called with each candidate, and the best so far.

    Raises:
        ModelError: if the model does not run here, or the goal limits agreement and no output holds scores.
        SamplesError: if the goal limits accuracy and the samples have no labels.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> from pathlib import Path
        >>> from attnexport.exporter import SavedModelRunner
        >>> from attnexport.tflite import fix_shapes, prepare_calibration, prepare_conversion
        >>> weights = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
        >>> layer = tf.function(lambda x: {"y": x @ weights}, [tf.TensorSpec((None, 16), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=layer)
        >>> original = SavedModelRunner(Path("model"))
        >>> signatures = fix_shapes(Path("model"), Path("fixed"), original.signatures, ["serving_default"])
        >>> samples = Samples({"x": np.random.default_rng(1).standard_normal((64, 16)).astype(np.float32)})
        >>> calibration = prepare_calibration(samples, signatures["serving_default"].inputs)
        >>> prepared = prepare_conversion(Path("fixed"), calibration, reference=original, signatures=signatures)
        >>> result = search(prepared, Goal(min_sqnr_db=50), space=SearchSpace(trials=2))
        >>> [trial.name for trial in result.trials], result.chosen.name
        (['float32', 'float16'], 'float16')
    """
    space = space or SearchSpace()
    _check(prepared, goal, evaluation)
    check_patterns(prepared.graph, [Recipe(SEARCHED, "float32", keep_float=space.keep_float)])
    interrupted, confirm = False, evaluation is not None and len(evaluation) > MAX_FULL
    with Workers(prepared, evaluation, space) as workers:
        trials = Trials(workers, goal, space.trials, lambda trial: on_trial(trial, trials.best))
        try:
            explore(trials, prepared.graph, space)
            chosen = choose(trials, confirm=confirm)
        except KeyboardInterrupt:
            interrupted, chosen = True, trials.best
            if chosen is not None and confirm:
                confirmed = trials.confirm(chosen)
                chosen = confirmed if goal.met_by(confirmed.measured) else None
    return SearchResult(goal, tuple(trials.all), chosen, prepared.calibration.content_hash, interrupted)


def explore(trials: Trials, graph: Graph, space: SearchSpace) -> None:
    """Measure the uniform candidates, then changes of the best of them, until the limit of trials."""
    with suppress(ExhaustedError):
        trials.measure(cheap_candidates(space.weight_algorithms, space.keep_float))
        trials.measure(calibrated_candidates(space.calibrators, space.keep_float))
        found = {name: best_named(trials.all, name) for name in ("int8", "int16x8")}
        calibrated = {name: each.recipe.calibrator for name, each in found.items() if each is not None}
        if FITTED in space.weight_algorithms:
            trials.measure(fitted_candidates(calibrated, space.keep_float))
        int8 = best_named(trials.all, "int8")
        calibrator = None if int8 is None else int8.recipe.calibrator
        if calibrator is not None:
            trials.measure(integer_core(calibrator, space.keep_float))
        for family in sorted(families(graph, trials.all, calibrator), key=lambda each: trials.rank(each.start)):
            climb(family, trials)


def _check(prepared: Prepared, goal: Goal, evaluation: Samples | None) -> None:
    if prepared.graph.flex_operators:
        raise ModelError(
            f"auto runs the model, and no interpreter here can run {', '.join(prepared.graph.flex_operators)}"
        )
    if goal.max_accuracy_drop is not None and (evaluation is None or evaluation.labels is None):
        raise SamplesError("--max-accuracy-drop needs evaluation samples with 'labels'")
    if goal.min_agreement is not None or goal.max_accuracy_drop is not None:
        outputs = next(case.expected or {} for case in prepared.cases if case.signature == DEFAULT_SIGNATURE)
        if scores_name(outputs) is None:
            specs = ", ".join(map(str, prepared.signatures[DEFAULT_SIGNATURE].outputs))
            raise ModelError(
                f"agreement and accuracy need scores [n, classes], and the outputs are {specs}; --min-sqnr limits the "
                "losses of any output"
            )
