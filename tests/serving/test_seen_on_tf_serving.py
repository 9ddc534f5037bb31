"""What was seen on the real TensorFlow Serving and no recording holds: reloads, labels, broken versions, metrics.

Each row is a sentence of docs/tfserving.md, and what shows that the embedded server does the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, inference_pb2, model_management_pb2, prediction_log_pb2

from attnexport.serving.server import BatchingOptions, ModelConfig, StatusError, VersionPolicy

X = np.ones((1, 3), np.float32)
CODES = {5: "NOT_FOUND", 9: "FAILED_PRECONDITION", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED", 15: "DATA_LOSS"}


class World:
    """A server of the base path `m`, whose versions are copies of a small model."""

    def __init__(self, start: Callable[..., Any], models: Path, folder: Path) -> None:
        self.start, self.models, self.base, self.folder = start, models, folder / "m", folder
        self.copy("1")

    def copy(self, name: str, base: str = "m") -> Path:
        """A version of that directory's name."""
        return Path(shutil.copytree(self.models / "1", self.folder / base / name))

    def serve(self, **options: Any) -> World:
        self.running = self.start([ModelConfig("m", self.base, policy=VersionPolicy(every=True))], **options)
        return self

    def reload(self, *models: tuple[str, str], labels: dict[str, int] | None = None, specific: Any = None) -> str:
        """The code of a reload of models (name, base path below the folder); labels and policy are for all."""
        request = model_management_pb2.ReloadConfigRequest()
        for name, base in models:
            config = request.config.model_config_list.config.add(name=name, base_path=str(self.folder / base))
            config.model_platform = "tensorflow"
            config.version_labels.update(labels or {})
            if specific is None:
                config.model_version_policy.all.SetInParent()
            else:
                config.model_version_policy.specific.SetInParent()
                config.model_version_policy.specific.versions.extend(specific)
        return self.code(lambda: self.running.models.HandleReloadConfigRequest(request, timeout=60))

    def code(self, call: Callable[[], Any]) -> str:
        try:
            call()
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    def predict(self, **spec: Any) -> str:
        return self.code(lambda: self.running.predict({"x": X}, **spec))

    def status(self, name: str = "m") -> str:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": name})
        return self.code(lambda: self.running.models.GetModelStatus(request, timeout=60))

    def state(self, number: int, name: str = "m") -> tuple[str, str]:
        """State and code of a version, when its files have settled."""
        for _ in range(3):
            self.running.server.manager.scan()
        statuses = self.running.server.manager.statuses(name)
        return next((each.state.name, each.code.name) for each in statuses if each.version == number)


def labels_at_the_start(world: World) -> None:
    with pytest.raises(StatusError, match="Request to assign label to version 1 of model m, which is not currently"):
        world.start([ModelConfig("m", world.base, labels={"a": 1})])
    world.start([ModelConfig("m", world.base, labels={"a": 1})], allow_unavailable_labels=True)


def label_before_load(world: World) -> None:
    world.serve(poll_seconds=0)
    world.copy("2")
    assert world.reload(("m", "m"), ("n", "m"), labels={"next": 2}) == "FAILED_PRECONDITION"
    assert world.predict(name="n") == "NOT_FOUND", "nothing changed"
    assert world.reload(("m", "m")) == "OK"
    assert world.reload(("m", "m"), labels={"next": 2}) == "OK"
    assert world.predict(label="next") == "OK"


def label_on_what_unloads(world: World) -> None:
    world.copy("2")
    world.serve()
    assert world.reload(("m", "m"), labels={"old": 1}, specific=[2]) == "OK"
    assert world.predict(label="old") == "NOT_FOUND"


def dangling_labels(world: World) -> None:
    world.serve(allow_unavailable_labels=True)
    assert world.reload(("m", "m"), labels={"a": 1, "new": 7}) == "OK"
    assert world.predict(label="new") == "NOT_FOUND"
    assert world.reload(("m", "m"), labels={"a": 8}) == "FAILED_PRECONDITION"
    assert world.predict(label="a") == "OK", "it stays where it was"


def missing_base_path(world: World) -> None:
    world.serve()
    assert world.reload(("m", "m"), ("gone", "nowhere")) == "OK", "TF Serving blocks for good"
    assert world.status("gone") == "NOT_FOUND"
    assert world.reload(("m", "m")) == "OK"


def odd_configurations(world: World) -> None:
    world.serve()
    assert world.reload(("m", "m"), ("", "m")) == "OK", "an empty name"
    assert world.reload(("m", "m"), specific=[]) == "OK", "specific without versions"
    assert world.predict() == "NOT_FOUND"


def repeated_broken_reload(world: World) -> None:
    world.serve()
    (world.folder / "b" / "1").mkdir(parents=True)
    assert [world.reload(("m", "m"), ("b", "b")) for _ in range(2)] == ["UNKNOWN", "OK"]


def signed_directories(world: World) -> None:
    world.copy("+8")
    assert world.serve().predict(version=8) == "OK"


def empty_version(world: World) -> None:
    (world.base / "2").mkdir()
    assert world.serve().state(2) == ("END", "NOT_FOUND")


def export_meta(world: World) -> None:
    (world.copy("2") / "export.meta").write_bytes(b"")
    assert world.serve().state(2) == ("END", "UNIMPLEMENTED")


def broken_graph(world: World) -> None:
    (world.copy("2") / "saved_model.pb").write_bytes(b"no graph")
    assert world.serve().state(2) == ("END", "DATA_LOSS")


def broken_variables(world: World) -> None:
    module = tf.Module()
    module.v = tf.Variable(tf.ones([1000]))
    function = tf.function(lambda x: {"y": x + module.v}, input_signature=[tf.TensorSpec([None, 1000], name="x")])
    tf.saved_model.save(module, str(world.folder / "v" / "1"), signatures=function.get_concrete_function())
    for number in ("2", "3", "4"):
        shutil.copytree(world.folder / "v" / "1", world.folder / "v" / number)
    (world.folder / "v" / "2" / "variables" / "variables.index").unlink()
    data = next((world.folder / "v" / "3" / "variables").glob("*data*"))
    data.write_bytes(data.read_bytes()[:-100])
    data = next((world.folder / "v" / "4" / "variables").glob("*data*"))
    data.write_bytes(b"x" * data.stat().st_size)
    world.running = world.start([ModelConfig("v", world.folder / "v", policy=VersionPolicy(every=True))])
    assert world.state(1, "v") == ("AVAILABLE", "OK")
    assert [world.state(number, "v")[1] for number in (2, 3, 4)] == [CODES[9], CODES[11], CODES[15]]


def base_path_away_and_back(world: World) -> None:
    world.serve()
    world.base.rename(world.folder / "away")
    world.running.server.manager.scan()
    assert world.predict() == "OK"
    (world.folder / "away").rename(world.base)
    assert world.state(1) == ("AVAILABLE", "OK")


def metrics(world: World) -> None:
    world.serve()
    world.predict()
    world.predict(name="nope")
    world.running.http("/v1/models/m:predict", {"instances": [[1, 2, 3]]})
    world.running.http("/v1/models/m")
    request = inference_pb2.MultiInferenceRequest()
    request.tasks.add(model_spec={"name": "m", "signature_name": "regress"}, method_name="tensorflow/serving/regress")
    request.input.example_list.examples.add().features.feature["x"].float_list.value.extend([1, 2, 3])
    world.running.predictions.MultiInference(request, timeout=60)
    text = world.running.http("/monitoring/prometheus/metrics")[1]
    for line in (
        'request_latency_count{API="Predict",entrypoint="GRPC",model_name="m"} 1.0',
        'request_latency_count{API="predict",entrypoint="REST",model_name="m"} 1.0',
        'request_latency_count{API="",entrypoint="REST",model_name="m"} 1.0',
        'request_count{model_name="nope",status="NOT_FOUND"} 1.0',
        'request_example_count_total{model="m"} 1.0',
    ):
        assert f":tensorflow:serving:{line}" in text
    assert 'model_name="nope"' not in "".join(line for line in text.splitlines() if "latency" in line), "no success"
    assert 'le="10"' in text


def batching(world: World) -> None:
    world.serve(batching=BatchingOptions())
    flags = world.code(lambda: world.running.predict({"flags": np.asarray(True)}, "flags"))
    assert (flags, world.predict(signature="total")) == ("INVALID_ARGUMENT", "FAILED_PRECONDITION")


def warm_up(world: World) -> None:
    odd = prediction_log_pb2.PredictionLog()
    odd.session_run_log.SetInParent()
    rank = prediction_log_pb2.PredictionLog()
    rank.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 2, 3), np.float32)))
    for name, log in {"empty": prediction_log_pb2.PredictionLog(), "rank": rank, "session": odd}.items():
        path = world.copy("1", name) / "assets.extra" / "tf_serving_warmup_requests"
        path.parent.mkdir()
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(log.SerializeToString())
    world.running = world.start([ModelConfig(name, world.folder / name) for name in ("empty", "rank", "session")])
    assert world.state(1, "empty") == world.state(1, "rank") == ("AVAILABLE", "OK")
    assert world.state(1, "session") == ("END", "UNIMPLEMENTED")


SEEN: dict[str, Callable[[World], None]] = {
    "a configuration whose labels name versions that are not loaded is refused at the start": labels_at_the_start,
    "labels are checked before anything loads; nothing changes when one is refused": label_before_load,
    "a label on a version that the same reload unloads is accepted, and then NOT_FOUND": label_on_what_unloads,
    "with the flag a new label may dangle, and an existing one may not move there": dangling_labels,
    "the status of a model whose base path is missing is NOT_FOUND, and no reload hangs": missing_base_path,
    "`specific {}` without versions and an empty model name are accepted": odd_configurations,
    "a repeated reload whose model is broken answers OK": repeated_broken_reload,
    "the directory +8 is version 8": signed_directories,
    "an empty version directory is listed as END with its error": empty_version,
    "a version with an export.meta file is UNIMPLEMENTED": export_meta,
    "a damaged graph is DATA_LOSS": broken_graph,
    "broken variables have specific codes": broken_variables,
    "a base path that is away and comes back unloads nothing": base_path_away_and_back,
    "labels of metrics, and what is counted": metrics,
    "batching refuses scalars": batching,
    "an empty warm-up record and one of another rank are accepted, SessionRun is not": warm_up,
}


@pytest.mark.parametrize("sentence", SEEN)
def test_what_was_seen_on_tf_serving(sentence: str, start_serving: Any, model_base: Path, tmp_path: Path) -> None:
    SEEN[sentence](World(start_serving, model_base, tmp_path))
