"""How the precision search decides, on a bench whose noise and sizes are known by construction."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log10
from typing import Any

import pytest

from attnexport.core import ModelError
from attnexport.parity import Figures
from attnexport.tflite import RECIPES, Recipe
from attnexport.tflite.graph import Graph, Operator, Subgraph, Tensor
from attnexport.tflite.search import Goal, Measurement, SearchResult
from attnexport.tflite.search._search import explore
from attnexport.tflite.search.families import best_named, cheap_candidates, families
from attnexport.tflite.search.greedy import climb
from attnexport.tflite.search.selection import choose
from attnexport.tflite.search.space import SearchSpace
from attnexport.tflite.search.trials import Trial, Trials
from attnexport.tflite.search.units import FLOAT16, FLOAT32, Level, joined_units, pattern_of, weighted_units

BITS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}
# Of a layer without quirks, by weights and activations, as a share of the signal's energy.
NOISE = {
    "float32/float32": 1e-13, "float16/float32": 1e-8, "int8/float32": 1e-5, "int8/dynamic": 2e-5,
    "int8/int8": 1e-4, "int8/int16": 1.1e-5, "int4/dynamic": 1e-3, "int4/float32": 1e-3,
}  # fmt: skip
LAYERS = ("a", "b", "c", "d")
ELEMENTS = 64 * 64


def model() -> Graph:
    """Four dense layers with an activation between each two."""
    tensors = [Tensor("input", "float32", (1, 64), 0, 0, False)]
    operators = []
    for number, name in enumerate(LAYERS):
        weights, product = len(tensors), len(tensors) + 1
        tensors += [
            Tensor(f"w_{name}", "float32", (64, 64), ELEMENTS * 4, number + 1, False),
            Tensor(f"net/{name}_1/MatMul", "float32", (1, 64), 0, 0, False),
            Tensor(f"net/{name}_1/Tanh", "float32", (1, 64), 0, 0, False),
        ]
        operators += [
            Operator("FULLY_CONNECTED", (weights - 1, weights), (product,)),
            Operator("TANH", (product,), (product + 1,)),
        ]
    return Graph((Subgraph(tuple(tensors), tuple(operators), (0,), (len(tensors) - 1,)),), {"serving_default": 0}, None)


POOR = Figures(sqnr_db=3.0)


class FakeBench:
    """Noise adds up, sizes too; latency is 1 but for int16, which is slow, and the clock may be noisy."""

    def __init__(self, quirks: dict[str, float] | None = None, speeds: Callable[[Recipe], float] | None = None) -> None:
        self.quirks, self.speeds = quirks or {}, speeds or (lambda recipe: 1.0)
        self.asked: list[str] = []

    def measure(self, recipes: Sequence[Recipe], what: str = "full") -> list[Measurement]:
        self.asked += [what] * len(recipes)
        return [self._measurement(recipe) for recipe in recipes]

    def race(self, recipes: Sequence[Recipe], *, rounds: int, seconds: float) -> list[float]:
        return [2.0, 2.02, *(2.0 * self.speeds(recipe) for recipe in recipes)]

    def _measurement(self, recipe: Recipe) -> Measurement:
        noise, size = 0.0, 500.0
        for name in LAYERS:
            tensor = f"net/{name}_1/MatMul"
            kind = recipe.weights, recipe.activations
            if any(re.search(each, tensor) for each in recipe.keep_float if not each.isupper()):
                kind = "float32", "float32"
            for rule in recipe.layers:
                if re.search(rule.tensors, tensor):
                    kind = rule.weights, rule.activations
            size += ELEMENTS * BITS[kind[0]] // 8 + 100 * kind[1].startswith("int")  # scales, and conversions
            noise += NOISE["/".join(kind)] * (self.quirks.get(name, 1.0) if kind[0].startswith("int") else 1.0)
        if "crash" in self.quirks and recipe.weights == "int4":
            return Measurement(int(size), problem="it crashes the interpreter (signal 11)")
        figures = Figures(sqnr_db=-10 * log10(noise), agreement=1 - min(noise, 1.0) / 2)
        return Measurement(int(size), self.speeds(recipe), 0.02, figures)


def run(bench: Any, goal: Goal, limit: int = 300) -> tuple[Trials, SearchResult]:
    trials = Trials(bench, goal, limit, lambda trial: None)
    explore(trials, model(), SearchSpace())
    return trials, SearchResult(goal, tuple(trials.all), choose(trials, confirm=False), "sha256:0")


def bytes_of(**counts: int) -> int:
    return 500 + sum(ELEMENTS * BITS[weights] // 8 * count for weights, count in counts.items())


def test_units_are_the_matrices_and_what_lies_between_them() -> None:
    graph = model()
    assert [(unit.name, unit.elements) for unit in weighted_units(graph)] == [(name, ELEMENTS) for name in LAYERS]
    between = joined_units(graph, ())
    assert [unit.outputs for unit in between] == [(f"net/{name}_1/Tanh",) for name in LAYERS]
    assert joined_units(graph, ["TANH"]) == []
    pattern = pattern_of(weighted_units(graph)[:2])
    assert [bool(re.search(pattern, f"net/{name}_1/MatMul")) for name in LAYERS] == [True, True, False, False]


def test_what_a_unit_can_be_depends_on_its_kernels() -> None:
    dense, between = weighted_units(model())[0], joined_units(model(), ())[0]
    table = replace(dense, operators=frozenset({"EMBEDDING_LOOKUP"}))
    int4, static = Level("int4", "dynamic"), Level("int8", "int8")
    assert dense.ladder([int4, static]) == (int4, static, FLOAT16)
    assert table.ladder([int4, static]) == (int4, FLOAT16)
    assert between.ladder([int4, static]) == (static, FLOAT32)


def test_the_sensitive_layer_alone_is_more_precise() -> None:
    """b makes 100 times the noise: int4 throughout has 9.9 dB, and all but b in int4 has 25 dB."""
    _, found = run(FakeBench({"b": 100.0}), Goal(min_sqnr_db=22))
    assert found.chosen is not None
    assert found.chosen.changes == {"dynamic": ("b",)}
    assert found.chosen.measured.size_bytes == bytes_of(int4=3, int8=1)
    [rule] = found.recipe.layers
    assert (found.recipe.weights, rule.weights, rule.activations) == ("int4", "int8", "dynamic")
    assert "It is int4 minmax except for b in dynamic: +2,048 bytes, +" in found.why
    assert "The best named recipe is" in found.why


def test_what_is_too_much_is_taken_back() -> None:
    """dynamic meets it with room to spare: all layers but the noisy one go down to int4, and not one more."""
    trials = Trials(FakeBench({"c": 30.0}), Goal(min_sqnr_db=24), 300, lambda trial: None)
    trials.measure(cheap_candidates())
    [dynamic] = [each for each in families(model(), trials.all, None) if each.start.name == "dynamic minmax"]
    found = climb(dynamic, trials)
    assert dict(found.changes) == {"int4": ("a", "b", "d")}
    assert found.measured.size_bytes == bytes_of(int4=3, int8=1)


def test_a_step_that_does_not_pay_is_undone() -> None:
    """d seems bad alone, but changing it gains nothing: the next one is tried without it."""

    class Deceived(FakeBench):
        def _measurement(self, recipe: Recipe) -> Measurement:
            measured = super()._measurement(recipe)
            alone = [(rule.weights, "d_1" in rule.tensors) for rule in recipe.layers if recipe.weights == "float32"]
            return replace(measured, figures=POOR) if alone == [("int4", True)] else measured

    trials, found = run(Deceived({"a": 200.0}), Goal(min_sqnr_db=21.0))
    steps = [dict(each.changes) for each in trials.all if each.start == "int4 minmax" and each.changes]
    assert steps[0] == {"dynamic": ("d",)}
    assert found.chosen is not None
    assert found.chosen.changes == {"dynamic": ("a",)}
    assert found.chosen.measured.size_bytes == bytes_of(int4=3, int8=1)


@pytest.mark.parametrize("least", [12, 20, 26, 33, 38, 43, 47, 55, 70])
@pytest.mark.parametrize("quirks", [{}, {"a": 40.0}, {"b": 3.0, "d": 200.0}])
def test_it_is_never_worse_than_the_best_named_recipe(least: float, quirks: dict[str, float]) -> None:
    goal = Goal(min_sqnr_db=least)
    _, found = run(FakeBench(quirks), goal)
    ways = [best_named(found.trials, name) for name in RECIPES]
    met = [each.measured.size_bytes for each in ways if each is not None and goal.met_by(each.measured)]
    assert found.chosen is not None
    assert goal.met_by(found.chosen.measured)
    assert found.chosen.measured.size_bytes <= min(met)


def test_agreement_and_accuracy_bind_as_well() -> None:
    _, found = run(FakeBench({"b": 100.0}), Goal(min_agreement=0.99))
    assert found.chosen is not None
    assert (figures := found.chosen.measured.figures) is not None
    assert (figures.agreement or 0) >= 0.99
    assert found.chosen.measured.size_bytes == bytes_of(int4=3, int8=1)


def test_a_goal_that_nothing_meets_names_the_nearest() -> None:
    trials, found = run(FakeBench(), Goal(min_sqnr_db=60, max_size=bytes_of(int4=4)))
    assert found.chosen is None
    assert found.nearest in trials.all
    assert found.why.startswith(f"none of {len(trials.all)} candidates has SQNR 60 dB and at most 8,692 bytes; nearest")


def test_fewer_trials_are_kept_to_and_give_the_best_so_far() -> None:
    bench = FakeBench({"b": 100.0})
    trials, found = run(bench, Goal(min_sqnr_db=22), limit=5)
    assert len(trials.all) == 5
    assert bench.asked == ["full"] * 5
    assert found.chosen is not None
    assert found.chosen.name == "dynamic minmax"


@pytest.mark.parametrize("limit", range(1, 26))
def test_any_number_of_trials_is_kept_to(limit: int) -> None:
    trials, _ = run(FakeBench({"b": 100.0}), Goal(min_sqnr_db=90), limit=limit)
    assert len(trials.all) == limit


def test_a_layer_that_nothing_can_quantize_is_no_end() -> None:
    """Alone it crashes in every integer type: its noise is beyond all others, and the search goes on."""

    class Brittle(FakeBench):
        def _measurement(self, recipe: Recipe) -> Measurement:
            measured = super()._measurement(recipe)
            brittle = any("b_1" in rule.tensors and rule.weights.startswith("int") for rule in recipe.layers)
            return replace(measured, problem="it crashes", figures=None) if brittle else measured

    for least in (12, 22, 35):
        assert run(Brittle(), Goal(min_sqnr_db=least))[1].chosen is not None


def test_the_choice_holds_on_all_samples() -> None:
    """What met the goal on some of them and misses it on all is passed over."""

    class Flattered(FakeBench):
        def measure(self, recipes: Sequence[Recipe], what: str = "full") -> list[Measurement]:
            found = super().measure(recipes, what)
            mixed = [what == "all" and recipe.weights == "int4" for recipe in recipes]
            return [replace(each, figures=POOR) if bad else each for each, bad in zip(found, mixed, strict=True)]

    bench = Flattered({"b": 100.0})
    trials, found = run(bench, Goal(min_sqnr_db=22))
    assert found.chosen is not None
    assert found.chosen.recipe.weights == "int4"
    confirmed = choose(trials, confirm=True)
    assert confirmed is not None
    assert confirmed.recipe.weights != "int4"
    assert confirmed.number != found.chosen.number
    assert bench.asked.count("all") > 1


def test_a_race_that_nobody_survives_is_decided_by_what_is_known() -> None:
    class Fatal(FakeBench):
        def race(self, recipes: Sequence[Recipe], *, rounds: int, seconds: float) -> list[float]:
            raise ModelError("candidates cannot be timed")

    assert run(Fatal(), Goal(min_sqnr_db=20, objective="latency"))[1].chosen is not None


def test_it_is_the_same_every_time() -> None:
    one, two = (run(FakeBench({"a": 7.0, "c": 60.0}), Goal(min_sqnr_db=27)) for _ in range(2))
    assert [each.name for each in one[0].all] == [each.name for each in two[0].all]
    assert one[1].recipe == two[1].recipe


def test_no_candidate_and_no_noise_is_measured_twice() -> None:
    bench = FakeBench({"b": 100.0})
    trials, _ = run(bench, Goal(min_sqnr_db=22))
    assert bench.asked.count("full") == len({each.recipe for each in trials.all}) == len(trials.all)


def test_the_fastest_within_noise_goes_by_size() -> None:
    """int16 is slow; of the others one is 1 % faster, which is less than float32 differs from itself."""

    def speeds(recipe: Recipe) -> float:
        return 5.0 if recipe.activations == "int16" else 0.495 if recipe.activations == "int8" else 0.5

    _, found = run(FakeBench({}, speeds), Goal(min_sqnr_db=22, objective="latency"))
    assert found.chosen is not None
    assert found.chosen.measured.size_bytes == bytes_of(int4=4)
    _, found = run(
        FakeBench({}, lambda recipe: 0.3 if recipe.weights == "float16" else 0.5),
        Goal(min_sqnr_db=22, objective="latency"),
    )
    assert found.chosen is not None
    assert found.chosen.name == "float16"


def test_a_candidate_that_crashes_is_none() -> None:
    trials, found = run(FakeBench({"crash": 1.0}), Goal(min_sqnr_db=22))
    crashed = [each for each in trials.all if each.measured.problem]
    assert {each.recipe.weights for each in crashed} == {"int4"}
    assert found.chosen is not None
    assert found.chosen.recipe.weights != "int4"
    assert all("int4 " not in each.name.split(" ", 1)[1][:5] for each in found.candidates)


def test_a_budget_of_its_own_is_in_the_recipe() -> None:
    measured = Measurement(10, figures=Figures(sqnr_db=12.7))
    trial = Trial(1, "int4 minmax", Recipe("auto", "int4", "dynamic"), measured, "int4 minmax")
    below = SearchResult(Goal(min_agreement=0.9), (trial,), trial, "sha256:0")
    assert below.recipe.min_sqnr_db == 11.0
    asked = SearchResult(Goal(min_sqnr_db=12), (trial,), trial, "sha256:0")
    assert (asked.recipe.min_sqnr_db, asked.recipe.calibrated_on) == (12, None)
    static = replace(trial, recipe=Recipe("auto", "int8", "int8", calibrator="minmax"))
    assert SearchResult(Goal(min_sqnr_db=12), (static,), static, "sha256:0").recipe.calibrated_on == "sha256:0"


def test_the_front_is_of_those_that_nothing_beats() -> None:
    _, found = run(FakeBench({"b": 100.0}), Goal(min_sqnr_db=22))
    sizes = [each.measured.size_bytes for each in found.front]
    assert sizes == sorted(sizes)
    assert found.chosen in found.front
    figures = [(each.measured.size_bytes, -each.measured.sqnr_db) for each in found.front]
    assert len(set(figures)) == len(figures)
    assert all(
        any(size <= each.measured.size_bytes and noise <= -each.measured.sqnr_db for size, noise in figures)
        for each in found.trials
    )
    assert len(found.candidates) == len(found.trials)
