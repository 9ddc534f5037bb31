"""The file of a search, read for the report: each field checked."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import Any

import pytest

from attnexport.core import ContentError
from attnexport.core.limits import PRECISIONS
from attnexport.parity import BUDGETS
from attnexport.parity.pareto import Candidate
from attnexport.tflite.search.result import read_candidates

CANDIDATE = asdict(Candidate("#1 float32", 100, 0.5, 80.0))


def write(path: Path, *candidates: Any) -> Path:
    path.write_text(json.dumps({"goal": {}, "candidates": candidates}))
    return path


def test_candidates_read_back_and_no_number_means_equal(tmp_path: Path) -> None:
    path = write(tmp_path / "auto.search.json", CANDIDATE, {**CANDIDATE, "sqnr_db": None})
    assert read_candidates(path) == (Candidate("#1 float32", 100, 0.5, 80.0), Candidate("#1 float32", 100, 0.5, inf))
    assert read_candidates(tmp_path / "none.json") == ()


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({**CANDIDATE, "size_bytes": "big"}, r"at candidates\[0\]\.size_bytes: a whole number is expected"),
        ({"name": "x"}, r"at candidates\[0\]: the field 'size_bytes' is missing"),
        ({**CANDIDATE, "colour": 1}, r"at candidates\[0\]: it holds 'colour'"),
        ([], r"at candidates\[0\]: an object is expected; received a list"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, candidate: Any, message: str) -> None:
    with pytest.raises(ContentError, match=rf"auto\.search\.json is not valid {message}"):
        read_candidates(write(tmp_path / "auto.search.json", candidate))


def test_a_manifest_knows_the_precisions_that_have_a_budget() -> None:
    assert set(PRECISIONS) == set(BUDGETS)
