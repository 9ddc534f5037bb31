"""The Pareto front: what nobody beats in size, latency and error at once."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from attnexport.parity.pareto import Candidate, non_dominated

FIGURES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.sampled_from([10.0, 20.0, math.inf]), st.booleans())


def candidates(*figures: tuple[int, float, float, bool]) -> list[Candidate]:
    return [
        Candidate(str(number), size, ms, sqnr, passed=passed) for number, (size, ms, sqnr, passed) in enumerate(figures)
    ]


def test_only_what_is_beaten_in_nothing_and_somewhere_better_is_left() -> None:
    found = candidates((10, 1.0, 40.0, True), (10, 1.0, 30.0, True), (5, 2.0, 30.0, True), (20, 3.0, math.inf, True))
    assert [each.name for each in non_dominated(found)] == ["0", "2", "3"]


def test_equals_are_all_on_the_front() -> None:
    assert len(non_dominated(candidates((1, 1.0, 9.0, True), (1, 1.0, 9.0, True)))) == 2


def test_what_misses_its_budget_is_beaten_by_whatever_meets_its_own() -> None:
    found = candidates((1, 1.0, 5.0, False), (9, 9.0, 50.0, True))
    assert [each.name for each in non_dominated(found)] == ["1"]
    assert len(non_dominated(found[:1])) == 1, "where none meets it, the nearest are shown"


@settings(max_examples=80)
@given(st.lists(FIGURES, max_size=9))
def test_the_front_beats_all_others_and_none_of_its_own(figures: list[tuple[int, float, float, bool]]) -> None:
    found = candidates(*figures)
    front = non_dominated(found)
    assert bool(front) == bool(found)
    assert not any(one.dominates(other) for one in front for other in front)
    assert all(any(one.dominates(each) for one in front) for each in found if each not in front)
