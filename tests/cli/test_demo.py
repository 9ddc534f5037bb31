"""The demo: the whole way on real data."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

Run = Callable[..., tuple[int, str, str]]


def test_the_demo_goes_the_whole_way(
    attnexport: Run, tmp_path: Path, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(directory: Path, **_: object) -> object:
        """What training writes, which took its time once for all tests."""
        shutil.copytree(digits.calibration.parent, directory)
        models = {name: directory / path.name for name, path in digits.models.items()}
        calibration, evaluation = (directory / path.name for path in (digits.calibration, digits.evaluation))
        return replace(digits, models=models, calibration=calibration, evaluation=evaluation)

    monkeypatch.setattr("attnexport.examples.digits.train_digits", trained)
    monkeypatch.setattr("attnexport.workflows.demo._MEASURED_SECONDS", 0.3)
    code, out, err = attnexport("demo", "--json")
    assert (code, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    rows = document["artifacts"]
    artifacts = ["Keras", "SavedModel", "float32", "float16", "dynamic", "int8"]
    assert [row["artifact"] for row in rows] == artifacts * 2
    assert [row["model"] for row in rows] == ["digits-attention"] * 6 + ["digits-multihead"] * 6
    for row in rows:
        assert (tmp_path / row["path"]).exists()
        assert row["latency_ms"] > 0
        found = row["evaluation"]
        assert found["accuracy"] >= 0.96
        assert found["agreement"] >= (0.99 if row["artifact"] == "int8" else 1.0)
        # The targets of docs/field-notes.md: real data, held out from training and calibration.
        assert found["sqnr_db"] is None or found["sqnr_db"] >= {"float32": 100, "float16": 60}.get(row["artifact"], 40)
    for served in document["served"]:
        assert min(served["grpc_accuracy"], served["rest_accuracy"], served["int8_accuracy"]) >= 0.96
    for validated in document["validated"]:
        assert validated["passed"]
        assert validated["checks"] > 100, "all runtimes, all signatures, edge cases"
        assert "✓ Passed" in (tmp_path / validated["report"]).read_text()
    assert [each["model"] for each in document["validated"]] == ["digits-attention", "digits-multihead"]
    sizes = {(row["model"], row["artifact"]): row["size_bytes"] for row in rows}
    for model in ("digits-attention", "digits-multihead"):
        assert sizes[model, "float16"] < 0.6 * sizes[model, "float32"]
        assert sizes[model, "int8"] < 0.5 * sizes[model, "float32"]
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
