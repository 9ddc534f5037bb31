"""Uniform candidates, and the precisions that can be changed in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from attnexport.tflite.float_core import place
from attnexport.tflite.graph import Graph
from attnexport.tflite.recipes import RECIPES, Recipe
from attnexport.tflite.recipes.recipe import FITTED, WEIGHT_ALGORITHMS

from .goal import SEARCHED
from .trials import Trial
from .units import FLOAT32, Level, Unit, joined_units, pattern_of, rule_for, weighted_units

Named = list[tuple[str, Recipe]]
# The place of each unit's precision on its ladder.
State = Mapping[Unit, int]

_WEIGHTS_ONLY = "int8 weights"
_INTEGER_CORE = "int8 throughout"


@dataclass(frozen=True)
class Family:
    """A uniform candidate with the precisions its units can have instead.

    Attributes:
        start: The uniform candidate.
        calibrator: How ranges are found, if some are needed.
        ladders: Precisions of each unit, the lowest first.
        own: Precision of each unit in the uniform candidate.
    """

    start: Trial
    calibrator: str
    ladders: Mapping[Unit, tuple[Level, ...]]
    own: Mapping[Unit, Level]

    @property
    def first(self) -> State:
        """The state a search starts from; tables that the uniform candidate leaves float get the lowest precision."""
        return {
            unit: 0 if self.own[unit] == FLOAT32 else ladder.index(self.own[unit])
            for unit, ladder in self.ladders.items()
        }

    def changes(self, state: State) -> dict[Level, list[Unit]]:
        """The units whose precision differs from the uniform candidate's, by their precision."""
        changed: dict[Level, list[Unit]] = {}
        for unit, at in state.items():
            if self.ladders[unit][at] != self.own[unit]:
                changed.setdefault(self.ladders[unit][at], []).append(unit)
        return changed

    def recipe(self, state: State) -> Recipe:
        """The recipe of the uniform candidate with the changes of a state."""
        recipe = self.start.recipe
        for level, units in self.changes(state).items():
            weighted = [unit for unit in units if unit.elements]
            if weighted:
                recipe = replace(recipe, layers=(*recipe.layers, rule_for(weighted, level)))
            if without := [unit for unit in units if not unit.elements]:
                recipe = replace(recipe, keep_float=(*recipe.keep_float, pattern_of(without)))
        return replace(recipe, calibrator=self.calibrator) if recipe.needs_calibration else recipe


def cheap_candidates(algorithms: Sequence[str] = WEIGHT_ALGORITHMS, keep_float: Sequence[str] = ()) -> Named:
    """Candidates whose activations need no ranges: the named recipes by each weight algorithm, int8 weights alone."""
    candidates = []
    for name, recipe in _plain(keep_float).items():
        if recipe.needs_calibration:
            continue
        ways = algorithms if recipe.weights.startswith("int") else ("minmax",)
        candidates += [(_named(name, each, ways), replace(recipe, weight_algorithms=(each,))) for each in ways]
    return [*candidates, (_WEIGHTS_ONLY, Recipe(SEARCHED, "int8", keep_float=tuple(keep_float)))]


def calibrated_candidates(calibrators: Sequence[str], keep_float: Sequence[str] = ()) -> Named:
    """The named recipes of integer activations with every calibrator."""
    return [
        (f"{name} {each}", replace(recipe, calibrator=each))
        for name, recipe in _plain(keep_float).items()
        if recipe.needs_calibration
        for each in calibrators
    ]


def fitted_candidates(calibrators: Mapping[str, str], keep_float: Sequence[str] = ()) -> Named:
    """The named recipes of integer activations with weights that are fitted to them, by the best calibrator of each."""
    plain = _plain(keep_float)
    return [
        (f"{name} {calibrator} {FITTED}", replace(plain[name], calibrator=calibrator, weight_algorithms=(FITTED,)))
        for name, calibrator in calibrators.items()
    ]


def integer_core(calibrator: str, keep_float: Sequence[str] = ()) -> Named:
    """int8 with the attention core in int8, too."""
    recipe = Recipe(SEARCHED, "int8", "int8", keep_float=tuple(keep_float), calibrator=calibrator)
    return [(_INTEGER_CORE, recipe)]


def best_named(trials: Sequence[Trial], name: str) -> Trial | None:
    """The candidate of a named recipe that is nearest to the original."""
    ways = [
        each for each in trials if not each.changes and each.name.split(" ")[0] == name and not each.measured.problem
    ]
    ways = [each for each in ways if each.name not in (_WEIGHTS_ONLY, _INTEGER_CORE)]
    return max(ways, key=lambda each: (each.measured.sqnr_db, -each.number), default=None)


def families(graph: Graph, trials: Sequence[Trial], calibrator: str | None) -> list[Family]:
    """The changes that the best candidates of the quantized recipes allow.

    Args:
        graph: The float32 model.
        trials: The uniform candidates.
        calibrator: How ranges are found if a unit of a recipe needs some but the recipe does not; None if no calibrator
            is allowed.
    """
    starts = {name: best_named(trials, name) for name in ("int4", "dynamic", "int8", "int16x8")}
    int4, dynamic = (
        Level(weights, "dynamic", "minmax" if start is None else start.recipe.weight_algorithms[0])
        for weights, start in (("int4", starts["int4"]), ("int8", starts["dynamic"]))
    )
    several = []
    for start in filter(None, starts.values()):
        recipe = start.recipe
        static = Level("int8", "int8", dynamic.weight_algorithm)
        if recipe.needs_calibration:
            static = Level("int8", recipe.activations, recipe.weight_algorithms[0])
        only_weights = replace(dynamic, activations="float32")
        middle = (dynamic, static) if static.activations == "int16" else (static, dynamic)
        units = weighted_units(graph) + (joined_units(graph, recipe.keep_float) if recipe.needs_calibration else [])
        kept = set(place(graph, recipe).kept_float)
        ladders, own = {}, {}
        for unit in units:
            if kept.intersection(unit.outputs):
                continue
            levels: tuple[Level, ...] = (int4, *middle, only_weights)
            if not recipe.needs_calibration and (unit.can_be(dynamic) or calibrator is None):
                levels = (int4, dynamic, only_weights)
            ladders[unit] = unit.ladder(levels)
            level = Level(recipe.weights, recipe.activations, recipe.weight_algorithms[0])
            own[unit] = level if unit.can_be(level) else FLOAT32
        if ladders:
            several.append(
                Family(start, recipe.calibrator if recipe.needs_calibration else calibrator or "auto", ladders, own)
            )
    return several


def _plain(keep_float: Sequence[str]) -> dict[str, Recipe]:
    """The named recipes with the user's `keep_float`, under the name of a search's recipes."""
    return {
        name: replace(
            recipe, name=SEARCHED, keep_float=recipe.keep_float + (tuple(keep_float) if name != "float32" else ())
        )
        for name, recipe in RECIPES.items()
    }


def _named(name: str, way: str, ways: Sequence[str]) -> str:
    return name if len(ways) == 1 else f"{name} {way}"
