"""What a search may try."""

from __future__ import annotations

from dataclasses import dataclass

from attnexport.tflite.recipes.recipe import CALIBRATORS, WEIGHT_ALGORITHMS

from .goal import DEFAULT_TRIALS


@dataclass(frozen=True)
class SearchSpace:
    """What a search may try, and what it is judged on.

    Attributes:
        keep_float: Operators that stay float32, as in `Recipe.keep_float`.
        calibrators: Ways to find ranges that may be tried.
        weight_algorithms: Ways to round weights that may be tried.
        trials: Candidates measured at most.
        labels_for: The output that labels are of; the one whose classes they fit if None.

    Example:
        >>> SearchSpace(trials=20).keep_float
        ()
    """

    keep_float: tuple[str, ...] = ()
    calibrators: tuple[str, ...] = CALIBRATORS
    weight_algorithms: tuple[str, ...] = WEIGHT_ALGORITHMS
    trials: int = DEFAULT_TRIALS
    labels_for: str | None = None
