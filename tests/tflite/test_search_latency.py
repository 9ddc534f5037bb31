"""A search whose goal limits latency."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from attnexport.tflite.recipes import Recipe
from attnexport.tflite.search import Goal
from tests.tflite.test_search import FakeBench, run


class SteadyBench(FakeBench):
    """The race shows what each candidate showed before, but for one that was lucky."""

    def race(self, recipes: Sequence[Recipe], *, rounds: int, seconds: float) -> list[float]:
        return [0.02, 0.02, *(0.02 * self.speeds(recipe) * (1 + self.quirks.get("luck", 0)) for recipe in recipes)]


def test_latency_is_a_limit_beside_size() -> None:
    """int4 is the smallest and takes too long; nothing takes less than a tenth of float32's time."""
    bench = SteadyBench({}, lambda recipe: 3.0 if recipe.weights == "int4" else 1.0)
    smallest = run(bench, Goal(min_sqnr_db=5))[1].chosen
    quick = run(bench, Goal(min_sqnr_db=5, max_latency_ms=0.03))[1].chosen
    assert smallest is not None
    assert quick is not None
    assert (smallest.recipe.weights, quick.recipe.weights) == ("int4", "int8")
    assert quick.measured.latency_ms == pytest.approx(0.02)
    assert run(bench, Goal(min_sqnr_db=5, max_latency_ms=0.002))[1].chosen is None
    # Measured twice as slow in the race as before it.
    assert run(SteadyBench({"luck": 1.0}), Goal(min_sqnr_db=5, max_latency_ms=0.03))[1].chosen is None
    assert "at most 0.03 ms" in str(Goal(min_sqnr_db=5, max_latency_ms=0.03))
