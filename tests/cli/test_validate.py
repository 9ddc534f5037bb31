"""`attnexport validate`: what is right passes, and what is broken fails with the right words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Path:
    """The digits model as SavedModel, float32 and int8 .tflite: not to be changed."""
    from attnexport.cli.tflite_versions import convert_version
    from attnexport.core import ExportDirectory
    from attnexport.exporter import export_saved_model
    from attnexport.tflite import RECIPES

    output = tmp_path_factory.mktemp("validated")
    found = export_saved_model(
        digits.models["digits-multihead"], output, output_names=["logits"], warmup=digits.calibration
    )
    recipes = [RECIPES[name] for name in ("float32", "int8")]
    convert_version(ExportDirectory(found.directory), found.entry, recipes, calibration=str(digits.calibration))
    return Path(found.directory)


@pytest.fixture
def export(exported: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(exported, tmp_path / "digits-multihead"))


def forget_hashes(export: Path) -> None:
    """As if the files had been exported as they are now."""
    manifest = export / "attnexport.json"
    document = json.loads(manifest.read_text())
    for artifact in document["versions"][0]["artifacts"]:
        artifact["file_hash"] = None
    manifest.write_text(json.dumps(document))


def test_everything_passes_in_every_runtime_and_over_the_wire(attnexport: Run, exported: Path, digits: Any) -> None:
    code, out, err = attnexport("validate", exported, "--evaluation", digits.evaluation, "--serve", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["passed"]
    seen = {(Path(each["artifact"]).suffix, each["runtime"], each["signature"]) for each in document["checks"]}
    for signature in ("serving_default", "attention", "classify"):
        assert {("", runtime, signature) for runtime in ("session", "eager", "gRPC")} <= seen
    assert {(".tflite", runtime, "serving_default") for runtime in ("interpreter", "CompiledModel", "gRPC")} <= seen
    on_data = [each for each in document["checks"] if not each["is_edge"] and each["signature"] == "serving_default"]
    assert {each["measured"]["samples"] for each in on_data} == {397}
    assert min(each["measured"]["accuracy"] for each in on_data) >= 0.96
    assert {each["case"] for each in document["checks"] if each["is_edge"]} >= {"zeros", "large", "tiny", "batch of 1"}


def test_a_budget_names_the_failure_and_keeps_the_sample(attnexport: Run, exported: Path, digits: Any) -> None:
    words = ("--evaluation", str(digits.evaluation), "--min-sqnr", "60")
    code, out, err = attnexport("validate", exported, *words)
    assert code == 4
    assert "FAILED" in out
    assert "int8.tflite (interpreter), serving_default output 'logits' on 397 evaluation samples: SQNR 4" in err
    with np.load("validate-failed.npz") as sample:
        assert sample["rows"].shape == (1, 8, 8)
    code, _, _ = attnexport("validate", exported, "--evaluation", "validate-failed.npz", "--min-sqnr", "60")
    assert code == 4


def test_changed_and_missing_files_are_said_first(attnexport: Run, export: Path) -> None:
    file = next(export.glob("tflite/1/*int8.tflite"))
    file.write_bytes(file.read_bytes() + b"\0")
    code, out, err = attnexport("validate", export)
    assert (code, out) == (5, "")
    assert "tflite/1/digits-multihead.int8.tflite changed since; export it again" in err
    file.unlink()
    assert "int8.tflite gone since" in attnexport("validate", export)[2]


@pytest.mark.parametrize(
    ("factor", "code", "told"), [(1.01, 4, "max error"), (float("nan"), 5, "holds NaN or infinity at")]
)
def test_a_perturbed_tflite_fails(factor: float, code: int, told: str, attnexport: Run, export: Path) -> None:
    from ai_edge_litert.tools import flatbuffer_utils

    from attnexport.tflite.graph import parse_model, read_graph

    path = next(export.glob("tflite/1/*float32.tflite"))
    content = path.read_bytes()
    buffer = next(
        tensor.buffer
        for subgraph, operator in read_graph(content).operators
        for tensor in subgraph.weights(operator)
        if tensor.shape[0] == 10
    )
    model = parse_model(content)
    values = np.frombuffer(bytes(model.buffers[buffer].data), np.float32) * np.float32(factor)
    model.buffers[buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    forget_hashes(export)
    found, _, err = attnexport("validate", export)
    assert (found, told in err) == (code, True), err
    assert "float32.tflite (interpreter)" in err


def test_another_models_saved_model_fails(attnexport: Run, export: Path, digits: Any, tmp_path: Path) -> None:
    from attnexport.exporter import export_saved_model

    other = export_saved_model(digits.models["digits-attention"], tmp_path / "other", output_names=["logits"])
    shutil.rmtree(export / "saved_model" / "1")
    shutil.copytree(other.path, export / "saved_model" / "1")
    forget_hashes(export)
    code, _, err = attnexport("validate", export)
    assert code in (4, 5)
    assert "saved_model/1 (session)" in err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere"], 2, "nowhere is no export directory"),
        (["--rtol", "1e-3"], 2, "rtol and atol come together"),
        (["--version", "9"], 2, "has no version 9; there is 1"),
        (["--evaluation", "nowhere.npz"], 2, "samples nowhere.npz do not exist"),
        (["--server", "127.0.0.1:1"], 6, "127.0.0.1:1"),
    ],
)
def test_bad_input(words: list[str], code: int, told: str, attnexport: Run, exported: Path) -> None:
    given = words if words == ["nowhere"] else [str(exported), *words]
    found, out, err = attnexport("validate", *given)
    assert (found, out) == (code, "")
    assert told in err
