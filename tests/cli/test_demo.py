"""The demo: the whole way on real data."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., tuple[int, str, str]]


def test_the_demo_goes_the_whole_way(attnexport: Run, tmp_path: Path) -> None:
    code, out, err = attnexport("demo", "--json")
    assert (code, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    assert [each["model"] for each in document["models"]] == ["digits-attention", "digits-multihead"]
    for row in document["models"]:
        assert row["keras_accuracy"] >= 0.96
        assert row["saved_model_accuracy"] == row["keras_accuracy"]
        assert (tmp_path / row["saved_model"] / "saved_model.pb").exists()
    with (
        np.load(tmp_path / document["evaluation"]) as evaluation,
        np.load(tmp_path / document["calibration"]) as calibration,
    ):
        assert evaluation["rows"].shape == (397, 8, 8)
        assert evaluation["labels"].shape == (397,)
        assert calibration["rows"].shape == (1400, 8, 8)
        seen = {row.tobytes() for row in calibration["rows"]}
        assert sum(row.tobytes() in seen for row in evaluation["rows"]) == 0


def test_the_demo_without_scikit_learn_names_the_extra(attnexport: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    code, _, err = attnexport("demo")
    assert code == 2
    assert "pip install 'attnexport[examples]'" in err
