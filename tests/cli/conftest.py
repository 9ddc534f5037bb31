"""What the command line's tests share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def exported(once: Callable[..., Any], digits: Any) -> Path:
    """The digits model as SavedModel, float32 and int8 .tflite: not to be changed."""
    from attnexport.workflows.convert import convert
    from attnexport.workflows.export import export_saved_model

    def export(output: Path) -> Path:
        result = export_saved_model(
            digits.models["digits-multihead"], output, output_names=["logits"], warmup=digits.calibration
        )
        convert(result.directory, ["float32", "int8"], calibration=digits.calibration)
        return Path(result.directory)

    return Path(once("validated", export))


@pytest.fixture
def export(exported: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(exported, tmp_path / "digits-multihead"))


@pytest.fixture
def perturb() -> Callable[[Path, int, float], None]:
    """Multiply the weights of a float32 .tflite whose first dimension is this by a factor."""
    from ai_edge_litert.tools import flatbuffer_utils

    from attnexport.tflite.graph import parse_model, read_graph

    def change(path: Path, first: int, factor: float) -> None:
        content = path.read_bytes()
        buffer = next(
            tensor.buffer
            for subgraph, operator in read_graph(content).operators
            for tensor in subgraph.weights(operator)
            if tensor.shape[0] == first
        )
        model = parse_model(content)
        values = np.frombuffer(bytes(model.buffers[buffer].data), np.float32) * np.float32(factor)
        model.buffers[buffer].data = np.frombuffer(values.tobytes(), np.uint8)
        path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))

    return change


@pytest.fixture
def forget_hashes() -> Callable[[Path], None]:
    """Take the hashes out of a manifest, as if the files had been exported as they are now."""

    def forget(export: Path) -> None:
        manifest = export / "attnexport.json"
        document = json.loads(manifest.read_text())
        document["versions"][0]["environment"]["attnexport"] = "0.0.9"  # which knew none
        for artifact in document["versions"][0]["artifacts"]:
            artifact["file_hash"] = None
        manifest.write_text(json.dumps(document))

    return forget
