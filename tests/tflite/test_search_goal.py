"""What a search is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from attnexport.core import ArgumentError
from attnexport.parity import Figures
from attnexport.tflite.search import Goal, Measurement


def test_half_a_point_is_half_a_point() -> None:
    """Shares of samples are no exact numbers."""
    goal = Goal(max_accuracy_drop=0.5)
    assert goal.met_by(Measurement(1, figures=Figures(sqnr_db=9.0, accuracy=0.895, reference_accuracy=0.9)))
    assert not goal.met_by(Measurement(1, figures=Figures(sqnr_db=9.0, accuracy=0.89, reference_accuracy=0.9)))
    assert not goal.met_by(Measurement(1, figures=Figures(sqnr_db=99.0)))
    assert goal.met_by(Measurement(1, figures=Figures(sqnr_db=9.0, accuracy=179 / 200, reference_accuracy=180 / 200)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "auto needs a limit for what may be lost"),
        ({"max_size": 100}, "auto needs a limit for what may be lost"),
        ({"min_sqnr_db": float("nan")}, "min_sqnr must be a number of dB"),
        ({"min_agreement": 99.0}, "min_agreement is a share from 0 to 1; received 99"),
        ({"max_accuracy_drop": -1.0}, "max_accuracy_drop must be 0 to 100"),
        ({"min_sqnr_db": 30.0, "max_latency_ms": 0.0}, "max_latency must be a number of ms above 0; received 0"),
    ],
)
def test_goals_that_make_no_sense_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Goal(**changes)
    assert told in str(caught.value)
