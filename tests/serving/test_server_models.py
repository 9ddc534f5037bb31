"""What the command serves of an export: the SavedModel and each .tflite, and Runners of a fixed batch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from attnexport.cli.serve_models import ArtifactLoader, RunnerModel
from attnexport.cli.serve_sources import model_source
from attnexport.core import Signature, TensorSpec
from attnexport.serving.messages import SignatureDefMap
from attnexport.serving.server import StatusError

NO_FLAGS = {"model_base_path": None, "model_config_file": None, "version": None}


class FixedBatch:
    """Doubles batches of two, and notices when two threads are in it."""

    concurrent = False
    signatures: ClassVar = {
        "serving_default": Signature(
            "serving_default", (TensorSpec("x", "float32", (2, 3)),), (TensorSpec("y", "float32", (2, 3)),)
        )
    }

    def __init__(self) -> None:
        self.closed, self._inside = False, threading.Lock()

    def run(self, inputs: Any, signature: str = "serving_default") -> Any:
        assert self._inside.acquire(blocking=False)
        try:
            assert inputs["x"].shape == (2, 3)
            return {"y": 2 * inputs["x"]}
        finally:
            self._inside.release()

    def close(self) -> None:
        self.closed = True


def test_a_fixed_batch_answers_any_batch_and_one_thread_at_a_time() -> None:
    runner = FixedBatch()
    model = RunnerModel([runner])
    assert model.signatures["serving_default"].inputs[0].shape == (None, 3)
    results: dict[int, Any] = {}

    def ask(count: int) -> None:
        results[count] = model.run({"x": np.full((count, 3), count, np.float32)}, "serving_default", ["y"])["y"]

    threads = [threading.Thread(target=ask, args=(count,)) for count in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {count: (len(y), y[0, 0]) for count, y in results.items()} == {n: (n, 2 * n) for n in range(1, 9)}
    with pytest.raises(StatusError, match="no samples"):
        model.run({"x": np.ones((0, 3), np.float32)}, "serving_default", ())
    described = SignatureDefMap.FromString(model.definitions).signature_def["serving_default"]
    assert [dim.size for dim in described.inputs["x"].tensor_shape.dim] == [-1, 3]
    assert described.inputs["x"].dtype == 1
    model.close()
    assert runner.closed


def test_an_export_is_its_saved_model_and_each_kind_of_tflite(tmp_path: Path) -> None:
    root = tmp_path / "export" / "mine"
    for version in (1, 2):
        (root / "saved_model" / str(version)).mkdir(parents=True)
        (root / "tflite" / str(version)).mkdir(parents=True)
    (root / "attnexport.json").write_text("{}")
    for path in ("1/mine.float32.tflite", "2/mine.float32.tflite", "2/mine.int8.tflite"):
        (root / "tflite" / path).write_bytes(b"")
    for export in (root, root.parent):
        configs = model_source(str(export), NO_FLAGS)()
        assert [config.name for config in configs] == ["mine", "mine.float32", "mine.int8"]
    loader = ArtifactLoader()
    found = [loader.find(root / "tflite" / str(version), "mine.int8.tflite") for version in (1, 2)]
    assert found == [None, root / "tflite" / "2" / "mine.int8.tflite"]


def test_prefer_tflite_takes_the_file_where_there_is_one(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").write_bytes(b"")
    (tmp_path / "2" / "model.tflite").write_bytes(b"")
    loader = ArtifactLoader(prefer_tflite=True)
    assert [loader.find(tmp_path / version, None) for version in ("1", "2")] == [
        tmp_path / "1",
        tmp_path / "2" / "model.tflite",
    ]
    assert ArtifactLoader().find(tmp_path / "2", None) == tmp_path / "2"
