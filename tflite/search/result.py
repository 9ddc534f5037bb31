"""The result of a search, and the reasons for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import floor, inf
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from attnexport.core.documents import check, convert, read_json
from attnexport.parity import BUDGETS
from attnexport.parity.pareto import Candidate, non_dominated
from attnexport.tflite.recipes import RECIPES, Recipe

from .families import best_named
from .goal import Goal
from .trials import Trial

_NOISE = 0.1  # of a latency ratio from a few calls
_MAX_LISTED = 4  # names of layers in a sentence


@dataclass(frozen=True)
class SearchResult:
    """All candidates, and the one that was chosen.

    Attributes:
        goal: The goal.
        trials: Every candidate, in the order of measurement.
        chosen: The candidate that meets the goal best; None if none does.
        calibrated_on: Hash of the calibration samples.
        interrupted: Whether the search was interrupted.
    """

    goal: Goal
    trials: tuple[Trial, ...]
    chosen: Trial | None
    calibrated_on: str
    interrupted: bool = False

    @property
    def nearest(self) -> Trial:
        """The chosen candidate, or if there is none, the one that misses the goal least."""
        return self.chosen or min(self.trials, key=lambda each: (self.goal.misses(each.measured), each.number))

    @property
    def recipe(self) -> Recipe:
        """The recipe of the nearest candidate, with the SQNR its file must have."""
        recipe, sqnr = self.nearest.recipe, self.nearest.measured.sqnr_db
        min_sqnr_db = self.goal.min_sqnr_db
        budget = BUDGETS[recipe.precision].min_sqnr_db
        if min_sqnr_db is None and budget is not None and -inf < sqnr < budget:
            min_sqnr_db = floor(sqnr) - 1.0
        return replace(
            recipe, min_sqnr_db=min_sqnr_db, calibrated_on=self.calibrated_on if recipe.needs_samples else None
        )

    @property
    def best_named(self) -> Trial | None:
        """The best named recipe that meets the goal, as `--quantize NAME` makes it; None if none does."""
        ways = (
            best_named(
                [each for each in self.trials if each.recipe.weight_algorithms[0] in known.weight_algorithms], name
            )
            for name, known in RECIPES.items()
        )
        met = [each for each in ways if each is not None and self.goal.met_by(each.measured)]
        return min(met, key=self._cost, default=None)

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate that ran, for a table or a picture."""
        latencies = [each.measured.float_latency_ms for each in self.trials]
        known = [each for each in latencies if each is not None]
        float_ms = median(known) if known else 0.0
        return tuple(
            Candidate(
                f"#{each.number} {each.name}",
                each.measured.size_bytes,
                float_ms * (each.measured.latency_ratio or 0.0),
                figures.sqnr_db,
                figures.agreement,
                figures.accuracy,
                self.goal.met_by(each.measured),
                self.chosen is not None and each.number == self.chosen.number,
            )
            for each in self.trials
            if (figures := each.measured.figures) is not None
        )

    @property
    def front(self) -> list[Trial]:
        """The candidates that no other beats in size, latency and SQNR at once, the best for the objective first.

        Latencies that differ by less than the noise count as equal. Of equal candidates the first is kept.
        """
        points = {}
        ran = (each for each in self.trials if each.measured.figures is not None)
        for trial, each in zip(ran, self.candidates, strict=True):
            steps = round((trial.measured.latency_ratio or 0.0) / _NOISE)
            point = replace(each, name="", latency_ms=float(steps), passed=True, chosen=False)
            if trial is self.chosen or point not in points:
                points[point] = trial.number
        numbers = {points[each] for each in non_dominated(list(points))}
        if self.chosen is not None:
            numbers.add(self.chosen.number)
        return sorted((each for each in self.trials if each.number in numbers), key=self._cost)

    @property
    def why(self) -> str:
        """What was chosen, and why, in a few sentences."""
        if not self.trials:
            return "interrupted before any candidate was measured"
        trial, measured = self.nearest, self.nearest.measured
        if self.chosen is None:
            return f"none of {len(self.trials)} candidates has {self.goal}; nearest is {trial.name}: {measured}"
        kind = "smallest" if self.goal.objective == "size" else "fastest"
        sentences = [f"Of {len(self.trials)} candidates, the {kind} with {self.goal} is {trial.name}: {measured}."]
        start = next(each for each in self.trials if each.name == trial.start)
        if trial.changes:
            changed = "; ".join(f"{_listed(names)} in {level}" for level, names in trial.changes.items())
            size = measured.size_bytes - start.measured.size_bytes
            sqnr = measured.sqnr_db - start.measured.sqnr_db
            sentences.append(f"It is {start.name} except for {changed}: {size:+,} bytes, {sqnr:+.1f} dB.")
        if trial.recipe.activations in ("int8", "int16") and trial.recipe.keep_float:
            sentences.append("The attention core and normalization stay float32.")
        named = self.best_named
        if named is None:
            sentences.append("No named recipe meets the goal.")
        elif named.name != trial.name:
            sentences.append(f"The best named recipe is {named.name}: {named.measured}.")
        return " ".join(sentences)

    def _cost(self, trial: Trial) -> tuple[float, ...]:
        measured = trial.measured
        size = (float(measured.size_bytes), -measured.sqnr_db)
        ratio = inf if measured.latency_ratio is None else measured.latency_ratio
        return (ratio, *size) if self.goal.objective == "latency" else size


class _Document(TypedDict):
    candidates: list[dict[str, Any]]


def read_candidates(path: Path) -> tuple[Candidate, ...]:
    """Read the candidates of a search from the file that was written of it.

    Args:
        path: The file, `auto.search.json` in an export.

    Returns:
        The candidates, none if there is no such file.

    Raises:
        ContentError: if it is not valid, naming the field and what is expected there.

    Example:
        >>> read_candidates(Path("recipes/1/auto.search.json"))
        ()
    """
    try:
        document = read_json(path)
    except FileNotFoundError:
        return ()
    candidates = check(document, _Document, str(path))["candidates"]
    # JSON has no number for the SQNR of equal outputs.
    for each in candidates:
        if "sqnr_db" in each and each["sqnr_db"] is None:
            each["sqnr_db"] = inf
    return convert(candidates, tuple[Candidate, ...], str(path), at="candidates")


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MAX_LISTED])
    return listed if len(names) <= _MAX_LISTED else f"{listed} and {len(names) - _MAX_LISTED} more"
