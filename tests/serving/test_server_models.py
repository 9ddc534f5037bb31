"""What the command serves of an export: the SavedModel and each .tflite, and Runners of a fixed batch."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from attnexport.core import Signature, TensorSpec
from attnexport.core.errors import ArgumentError, ContentError
from attnexport.serving.messages import SignatureDefMap
from attnexport.serving.server import ModelConfig, StatusError
from attnexport.workflows.serve_models import ArtifactLoader, RunnerModel
from attnexport.workflows.serve_settings import ServeSettings
from attnexport.workflows.serve_sources import Follower, model_source

NO_FLAGS = ServeSettings()


class FixedBatch:
    """Doubles batches of two, and notices when two threads are in it."""

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


def test_inputs_of_a_fixed_batch_hold_as_many_samples_each() -> None:
    class Sum(FixedBatch):
        x = FixedBatch.signatures["serving_default"].inputs[0]
        signatures: ClassVar = {"sum": Signature("sum", (x, replace(x, name="z")), (replace(x, name="y"),))}

        def run(self, inputs: Any, signature: str = "sum") -> Any:
            return {"y": inputs["x"] + inputs["z"]}

    model, ones = RunnerModel([Sum()]), np.ones((3, 3), np.float32)
    np.testing.assert_array_equal(model.run({"x": ones, "z": ones}, "sum", ())["y"], 2 * ones)
    with pytest.raises(StatusError, match=r"different numbers of samples \(x 3, z 2\)") as refused:
        model.run({"x": ones, "z": ones[:2]}, "sum", ())
    assert refused.value.code == 3


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


def test_an_export_that_is_away_for_a_moment_keeps_its_models(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "export" / name / "saved_model").mkdir(parents=True)
        (tmp_path / "export" / name / "attnexport.json").write_text("{}")
    source = model_source(str(tmp_path / "export"), NO_FLAGS)
    before = source()
    (tmp_path / "export" / "a").rename(tmp_path / "away")
    assert source() == before
    (tmp_path / "away").rename(tmp_path / "export" / "a")
    shutil.rmtree(tmp_path / "export" / "a" / "saved_model")
    assert [config.name for config in source()] == ["b"], "an export may do without a SavedModel"


def test_a_configuration_file_wins_over_a_base_path_as_in_the_image_of_tf_serving(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text('model_config_list { config { name: "n" base_path: "/b" model_platform: "tensorflow" } }')
    flags = ServeSettings(model_name="model", model_base_path="/models/model", model_config_file=str(file))
    assert model_source(None, flags)() == [ModelConfig("n", Path("/b"))]


def test_a_version_in_place_of_its_base_path_is_told(model_base: Path) -> None:
    flags = ServeSettings(model_name="m", model_base_path=str(model_base / "1"))
    with pytest.raises(ArgumentError, match=f"is itself a SavedModel; .*, which is {model_base}$"):
        model_source(None, flags)
    with pytest.raises(ArgumentError, match=f"by ServeSettings\\(model_base_path=…\\), .*, which is {model_base}$"):
        model_source(str(model_base / "1"), NO_FLAGS)


def test_a_configuration_is_applied_until_it_is_in_force_and_its_failure_is_told_once(
    start_serving: Any, model_base: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_base / "1", tmp_path / "m" / "1")
    plain = [ModelConfig("m", tmp_path / "m")]
    configs: list[ModelConfig] = plain
    running, notes = start_serving(plain), list[str]()
    follower = Follower(running.server, lambda: configs, plain, notes.append)
    x = {"x": np.ones((1, 3), np.float32)}
    configs = [ModelConfig("m", tmp_path / "m", labels={"next": 2}), ModelConfig("n", model_base)]
    for _ in range(3):
        follower.look()
    [note] = notes
    assert "stays as it was: Request to assign label to version 2 of model m, which is not currently available" in note
    assert [config.name for config in running.server.manager.configs()] == ["m"], "nothing changes"
    configs = plain
    follower.look()
    configs = [ModelConfig("m", tmp_path / "m", labels={"next": 2})]
    follower.look()
    assert len(notes) == 2
    shutil.copytree(model_base / "2", tmp_path / "m" / "2")
    for _ in range(2):  # the first one sees files that have just changed
        running.server.manager.scan()
    follower.look()
    assert running.predict(x, label="next").model_spec.version.value == 2
    assert len(notes) == 2


def test_a_source_that_fails_leaves_the_configuration_and_is_told_once(start_serving: Any, model_base: Path) -> None:
    errors: list[Exception] = [ContentError("no text"), ContentError("no text"), PermissionError("closed")]

    def source() -> Any:
        raise errors.pop(0)

    configs = [ModelConfig("m", model_base)]
    running, notes = start_serving(configs), list[str]()
    follower = Follower(running.server, source, configs, notes.append)
    for _ in range(3):
        follower.look()
    assert notes == [f"the configuration stays as it was: {words}" for words in ("no text", "closed")]
    assert running.server.manager.configs() == configs


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


def test_a_base_path_may_be_a_uri_of_files_here(tmp_path: Path) -> None:
    text = 'model_config_list { config { name: "m" base_path: "%s" model_platform: "tensorflow" } }'
    file = tmp_path / "models.config"
    for place in (f"file://{tmp_path}", f"file://localhost{tmp_path}", str(tmp_path)):
        [config] = model_source(None, replace(NO_FLAGS, model_base_path=place))()
        assert config.base_path == tmp_path
        file.write_text(text % place)
        [config] = model_source(None, replace(NO_FLAGS, model_config_file=str(file)))()
        assert config.base_path == tmp_path
    for place, words in (("s3://bucket/m", "only local paths are read"), ("m", "absolute path or URI")):
        file.write_text(text % place)
        with pytest.raises(ContentError, match=words):
            model_source(None, replace(NO_FLAGS, model_config_file=str(file)))
