"""The candidates of a search: each is measured once, up to a limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Protocol

from attnexport.tflite.recipes import Recipe

from .goal import SEARCHED, Goal, Measurement
from .units import Level, Unit, rule_for

_MAX_CONCURRENT = 2  # candidates measured at once
_MAX_NOISE = 1e12  # of a signal that is lost; finite, since it is subtracted


class Bench(Protocol):
    """Measures recipes, as `workers.Workers` does."""

    def measure(self, recipes: Sequence[Recipe], what: str = "full") -> list[Measurement]: ...

    def race(self, recipes: Sequence[Recipe], *, rounds: int, seconds: float) -> list[float]: ...


class ExhaustedError(Exception):
    """The limit of trials is reached."""


@dataclass(frozen=True)
class Trial:
    """A candidate.

    Attributes:
        number: Number from 1, in the order of measurement.
        name: Name for people.
        recipe: Its recipe.
        measured: Its size, latency and figures.
        start: Name of the uniform candidate it was changed from; its own name if it is uniform.
        changes: Names of the units that were changed, by their new precision.
    """

    number: int
    name: str
    recipe: Recipe
    measured: Measurement
    start: str
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Trials:
    """All candidates so far.

    Args:
        bench: Measures them.
        goal: The goal of the search.
        limit: Number of trials at most.
        on_trial: Called with each new trial.
    """

    def __init__(self, bench: Bench, goal: Goal, limit: int, on_trial: Callable[[Trial], None]) -> None:
        self.all: list[Trial] = []
        self.goal = goal
        self._bench, self._limit, self._on_trial = bench, limit, on_trial
        self._known: dict[Recipe, Trial] = {}
        self._noise: dict[tuple[Unit, Level, str], float] = {}

    @property
    def best(self) -> Trial | None:
        """The best trial so far that meets the goal; None if none does."""
        return min((each for each in self.all if self.goal.met_by(each.measured)), key=self.rank, default=None)

    def rank(self, trial: Trial) -> tuple[float, ...]:
        """Sort key of trials that meet the goal, the best first."""
        measured = trial.measured
        ratio = measured.latency_ratio if measured.latency_ratio is not None else inf
        size = (float(measured.size_bytes), -measured.sqnr_db, float(trial.number))
        return (ratio, *size) if self.goal.objective == "latency" else size

    def measure(self, wanted: Sequence[tuple[str, Recipe]]) -> list[Trial]:
        """Measure uniform candidates by name, except those measured before.

        Raises:
            ExhaustedError: if the limit is reached; the candidates up to it were measured.
        """
        new = {recipe: name for name, recipe in wanted if recipe not in self._known}
        for at in range(0, len(new), _MAX_CONCURRENT):
            some = list(new)[at : at + _MAX_CONCURRENT]
            allowed = some[: self._limit - len(self.all)]
            for recipe, measured in zip(allowed, self._bench.measure(allowed), strict=True):
                self._add(Trial(len(self.all) + 1, new[recipe], recipe, measured, new[recipe]))
            if len(allowed) < len(some):
                raise ExhaustedError
        return [self._known[recipe] for _, recipe in wanted]

    def try_changed(self, start: Trial, recipe: Recipe, changes: Mapping[str, tuple[str, ...]]) -> Trial:
        """Measure a changed uniform candidate.

        Raises:
            ExhaustedError: if the limit is reached.
        """
        if recipe not in self._known:
            if len(self.all) >= self._limit:
                raise ExhaustedError
            name = ", ".join([start.name, *(f"{len(each)} {level}" for level, each in changes.items())])
            [measured] = self._bench.measure([recipe])
            self._add(Trial(len(self.all) + 1, name, recipe, measured, start.name, changes))
        return self._known[recipe]

    def learn_noise(self, pairs: Sequence[tuple[Unit, Level]], calibrator: str) -> None:
        """Measure the noise of single units in some precisions, with everything else in float32."""
        new = [pair for pair in dict.fromkeys(pairs) if (*pair, calibrator) not in self._noise]
        recipes = [
            Recipe(SEARCHED, "float32", layers=(rule_for([unit], level),), calibrator=calibrator) for unit, level in new
        ]
        for pair, measured in zip(new, self._bench.measure(recipes, "few"), strict=True):
            self._noise[*pair, calibrator] = (
                _MAX_NOISE if measured.problem else min(10 ** (-measured.sqnr_db / 10), _MAX_NOISE)
            )

    def noise(self, unit: Unit, level: Level, calibrator: str) -> float:
        """Noise of a unit in a precision, as a share of the signal's energy; 0 if not measured, as for 16 bits."""
        return self._noise.get((unit, level, calibrator), 0.0)

    def confirm(self, trial: Trial) -> Trial:
        """The trial, measured on all evaluation samples."""
        [measured] = self._bench.measure([trial.recipe], "all")
        old = trial.measured
        measured = replace(measured, latency_ratio=old.latency_ratio, float_latency_ms=old.float_latency_ms)
        confirmed = replace(trial, measured=measured)
        self.all[trial.number - 1] = confirmed
        return confirmed

    def race(self, trials: Sequence[Trial], *, rounds: int, seconds: float) -> list[float]:
        """Median latencies in ms, from calls in turn: float32, float32 again, and the candidates."""
        return self._bench.race([each.recipe for each in trials], rounds=rounds, seconds=seconds)

    def _add(self, trial: Trial) -> None:
        self.all.append(trial)
        self._known[trial.recipe] = trial
        self._on_trial(trial)
