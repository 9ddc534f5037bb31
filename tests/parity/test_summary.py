"""A validation in rows: the worst figures, failures first, and what passed joined over its runtimes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from attnexport.parity import Check, Tally, Validation
from attnexport.parity.summary import Summary, summarize


def check(
    runtime: str, error: float | None, problem: str | None = None, *, artifact: str = "a", edge: str = ""
) -> Check:
    """A check of one output; `error` of None is an output that holds no floats."""
    measured = None
    if error is not None:
        tally = Tally()
        tally.add(np.eye(4), np.eye(4) + error, np.arange(4))
        measured = tally.result()
    return Check(artifact, runtime, "int8", "s", "y", edge or "data", bool(edge), measured, problem)


def rows(*checks: Check, joined: bool = False) -> tuple[Summary, ...]:
    return summarize(Validation("Keras", checks), joined=joined)


def test_a_row_has_the_worst_of_its_checks_and_counts_the_edges() -> None:
    [row] = rows(check("r", 0.1), check("r", 0.01), check("r", 9.0, edge="zeros"), check("r", 0.0, "NaN", edge="ones"))
    assert (row.runtimes, row.on_data, row.edges, row.failed_edges, row.problem) == (("r",), True, 2, 1, "NaN")
    assert row.figures is not None
    assert math.isclose(row.figures.max_error, 0.1)
    assert math.isclose(row.figures.sqnr_db, 10 * math.log10(4 / (16 * 0.01)))
    assert row.cells == ("a", "r", "s", "14.0 dB", "0: 12.7 dB", "0.1", "1.0000", "100.0%", "1 of 2", "FAILED")


def test_the_worst_column_of_several_outputs_names_its_output() -> None:
    [row] = rows(check("r", 0.01), replace(check("r", 0.1), output="z"))
    assert row.cells[4] == "0 of 'z': 12.7 dB"
    assert row.to_record().column == "column 0 of 'z'"


def test_equal_and_not_measured_are_told_apart() -> None:
    equal, exact, broken = (rows(each)[0] for each in (check("r", 0.0), check("r", None), check("r", None, "shape")))
    assert (equal.cells[3], exact.cells[3], broken.cells[3]) == ("equal", "equal", "")
    kept = [each.to_record() for each in (equal, exact, broken)]
    assert [(each.passed, each.sqnr_db, each.max_error) for each in kept] == [
        (True, None, 0.0),
        (True, None, None),
        (False, None, None),
    ]


def test_failures_come_first_and_an_artifact_stays_together() -> None:
    found = rows(
        check("1", 0.0, artifact="a"),
        check("1", 0.0, artifact="b"),
        check("2", 0.0, artifact="a"),
        check("2", 0.0, "wrong", artifact="b"),
    )
    assert [(row.artifact, *row.runtimes) for row in found] == [("b", "2"), ("a", "1"), ("a", "2"), ("b", "1")]


def test_runtimes_that_passed_share_a_row_with_their_worst() -> None:
    bad, good = rows(check("1", 0.1), check("2", 0.2), check("3", 0.3, "wrong"), joined=True)
    assert (bad.runtimes, bad.problem) == (("3",), "wrong")
    assert good.figures is not None
    assert (good.runtimes, good.figures.max_error) == (("1", "2"), 0.2)
