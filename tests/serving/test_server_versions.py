"""Versions: swapped under load, failing, deleted, half-copied; labels, warm-up and new configurations."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_management_pb2, prediction_log_pb2

from attnexport.serving.server import Code, ModelConfig, StatusError, VersionPolicy

X = np.ones((1, 3), np.float32)


@pytest.fixture
def base(model_base: Path, tmp_path: Path) -> Path:
    """A base path with version 1, to be changed."""
    shutil.copytree(model_base / "1", tmp_path / "m" / "1")
    return tmp_path / "m"


def arrive(model_base: Path, base: Path, number: int, source: int = 2) -> None:
    """A version appears whole."""
    shutil.copytree(model_base / str(source), base.parent / "arriving")
    os.rename(base.parent / "arriving", base / str(number))


def look_until(running: Any, true: Callable[[], bool]) -> None:
    """Let the server look at the disk until something is so; unloading goes on in threads of its own."""
    for _ in range(200):
        running.server.manager.scan()
        if true():
            return
        threading.Event().wait(0.05)
    raise AssertionError(running.events)


def states(running: Any, name: str = "m") -> dict[int, str]:
    return {each.version: each.state.name for each in running.server.manager.statuses(name)}


def test_versions_are_swapped_without_a_failed_request(start_serving: Any, model_base: Path, base: Path) -> None:
    running = start_serving([ModelConfig("m", base)])
    ended, failures, seen = threading.Event(), [], set()

    def ask() -> None:
        while not ended.is_set():
            try:
                reply = running.predict({"x": X})
                seen.add((reply.model_spec.version.value, reply.outputs["y"].float_val[0]))
            except grpc.RpcError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        look_until(running, lambda: (1, 3.0) in seen)
        for number in (2, 3, 4):
            arrive(model_base, base, number)
            old = number - 1
            look_until(running, lambda number=number, old=old: states(running) .get(number) == "AVAILABLE"
                       and states(running)[old] == "END")  # fmt: skip
            shutil.rmtree(base / str(old))
            reply = running.predict({"x": X})
            assert reply.model_spec.version.value == number
        look_until(running, lambda: (4, 4.0) in seen)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == []
    # Version 1 adds 1, the others are copies of the model that adds 2.
    assert seen <= {(1, 3.0), (2, 4.0), (3, 4.0), (4, 4.0)}
    assert {number for number, _ in seen} >= {1, 4}


def test_a_version_that_fails_leaves_the_old_one_serving_and_shows_its_error(start_serving: Any, base: Path) -> None:
    running = start_serving([ModelConfig("m", base)])
    broken = base / "2"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no graph")
    look_until(running, lambda: states(running).get(2) == "END")
    assert running.predict({"x": X}).model_spec.version.value == 1
    status = running.http("/v1/models/m")[1]["model_version_status"][0]
    assert (status["version"], status["state"]) == ("2", "END")
    assert "does not load" in status["status"]["error_message"]
    assert status["status"]["error_code"] != "OK"
    running.server.manager.scan()
    assert len([event for event in running.events if "does not load" in event]) == 1, "it is not tried again"


def test_a_failed_version_is_tried_again_when_its_files_change(
    start_serving: Any, model_base: Path, base: Path
) -> None:
    (base / "2").mkdir()
    (base / "2" / "saved_model.pb").write_bytes(b"no graph")
    running = start_serving([ModelConfig("m", base)])
    assert states(running)[2] == "END"
    shutil.copyfile(model_base / "2" / "saved_model.pb", base / "2" / "saved_model.pb")
    look_until(running, lambda: states(running)[2] == "AVAILABLE")


def test_a_failed_load_is_retried_as_often_as_asked(start_serving: Any, model_base: Path, base: Path) -> None:
    from attnexport.workflows.serve_models import ArtifactLoader

    class Failing(ArtifactLoader):
        tries = 0

        def load(self, path: Path) -> Any:
            type(self).tries += 1
            if self.tries < 3:
                raise OSError("the disk is away")
            return super().load(path)

    running = start_serving([ModelConfig("m", base)], loader=Failing(), max_load_retries=2, retry_interval_seconds=0.0)
    look_until(running, lambda: states(running)[1] == "AVAILABLE")
    assert Failing.tries == 3


def test_half_copied_directories_are_loaded_when_they_are_whole(
    start_serving: Any, model_base: Path, base: Path
) -> None:
    running = start_serving([ModelConfig("m", base)])
    copying = base / "00000005"
    (copying / "variables").mkdir(parents=True)
    (copying / "variables" / "variables.data-00000-of-00001").write_bytes(b"x")
    (base / "not-a-number").mkdir()
    (base / "7").write_text("a file")
    running.server.manager.scan()
    assert states(running) == {1: "AVAILABLE"}, "it has just changed"
    running.server.manager.scan()
    assert states(running) == {1: "AVAILABLE", 5: "END"}, "a copy that rests is tried, and fails"
    shutil.copyfile(model_base / "2" / "saved_model.pb", copying / "saved_model.pb")
    shutil.rmtree(copying / "variables")
    look_until(running, lambda: states(running).get(5) == "AVAILABLE")


def test_deleted_versions_unload_and_may_come_again(start_serving: Any, model_base: Path, base: Path) -> None:
    running = start_serving([ModelConfig("m", base)])
    shutil.rmtree(base / "1")
    look_until(running, lambda: states(running) == {1: "END"})
    with pytest.raises(grpc.RpcError) as caught:
        running.predict({"x": X})
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    arrive(model_base, base, 1)
    look_until(running, lambda: states(running) == {1: "AVAILABLE"})
    assert running.predict({"x": X}).outputs["y"].float_val[0] == 4.0


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (VersionPolicy(), [4]),
        (VersionPolicy(latest=2), [3, 4]),
        (VersionPolicy(every=True), [1, 3, 4]),
        (VersionPolicy(specific=frozenset({1, 3, 9})), [1, 3]),
    ],
)
def test_policies_choose_versions(policy: VersionPolicy, served: list[int]) -> None:
    assert policy.choose([4, 1, 3]) == served


def warmup_record(signature: str = "serving_default") -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "whatever"
    log.predict_log.request.model_spec.signature_name = signature
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(X))
    data: bytes = log.SerializeToString()
    return data


def test_warm_up_records_are_replayed_before_a_version_is_available(
    start_serving: Any, serving_models: Any, tmp_path: Path
) -> None:
    serving_models.write_model(tmp_path / "good", 1, warmup=warmup_record())
    serving_models.write_model(tmp_path / "bad", 1, warmup=warmup_record("nope"))
    configs = [ModelConfig(name, tmp_path / name) for name in ("good", "bad")]
    running = start_serving(configs)
    assert states(running, "good") == {1: "AVAILABLE"}
    [status] = running.server.manager.statuses("bad")
    assert status.state.name == "END"
    assert "warm-up record 1 fails" in status.message
    metrics = running.http("/monitoring/prometheus/metrics")[1]
    assert 'runtime_latency_count{API="Predict",model_name="good",runtime="TF1"} 1.0' in metrics
    assert states(start_serving([configs[1]], warmup=False), "bad") == {1: "AVAILABLE"}


def test_a_label_names_only_what_is_available_unless_told_otherwise(start_serving: Any, base: Path) -> None:
    config = ModelConfig("m", base, labels={"next": 2})
    with pytest.raises(StatusError) as caught:
        start_serving([config])
    assert caught.value.code is Code.FAILED_PRECONDITION
    running = start_serving([config], allow_unavailable_labels=True)
    with pytest.raises(grpc.RpcError) as refused:
        running.predict({"x": X}, label="next")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_labels_are_all_given_or_none(start_serving: Any, model_base: Path, base: Path) -> None:
    every = VersionPolicy(every=True)
    good, bad = ModelConfig("m", model_base, policy=every), ModelConfig("n", base)
    running = start_serving([good, bad])
    running.server.manager.configure([replace(good, labels={"stable": 1}), bad])
    with pytest.raises(StatusError, match="assign label to version 2 of model n, which is not currently available"):
        running.server.manager.configure([replace(good, labels={"stable": 2}), replace(bad, labels={"next": 2})])
    assert running.predict({"x": X}, label="stable").model_spec.version.value == 1


def test_a_reload_replaces_the_whole_configuration(start_serving: Any, model_base: Path, base: Path) -> None:
    running = start_serving([ModelConfig("m", base)])
    request = model_management_pb2.ReloadConfigRequest()
    added = request.config.model_config_list.config.add(name="n", base_path=str(model_base))
    added.model_platform = "tensorflow"
    added.model_version_policy.all.SetInParent()
    reply = running.models.HandleReloadConfigRequest(request, timeout=60)
    assert reply.HasField("status")
    assert reply.status.error_code == 0
    added.version_labels["stable"] = 1
    running.models.HandleReloadConfigRequest(request, timeout=60)
    assert running.predict({"x": X}, name="n", label="stable").model_spec.version.value == 1
    look_until(running, lambda: states(running) == {1: "END"})
    with pytest.raises(grpc.RpcError) as caught:
        running.predict({"x": X})
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    added.base_path = str(base)  # the same name, other versions
    added.version_labels["stable"] = 1
    running.models.HandleReloadConfigRequest(request, timeout=60)
    look_until(running, lambda: states(running, "n") == {2: "END", 1: "AVAILABLE"})
    assert running.predict({"x": X}, name="n").model_spec.version.value == 1


def test_a_reload_fails_where_a_new_model_of_it_does_not_load(start_serving: Any, base: Path) -> None:
    running = start_serving([ModelConfig("m", base)])
    (base.parent / "broken" / "1").mkdir(parents=True)
    (base.parent / "broken" / "1" / "saved_model.pb").write_bytes(b"no graph")
    request = model_management_pb2.ReloadConfigRequest()
    for name in ("m", "broken"):
        request.config.model_config_list.config.add(
            name=name, base_path=str(base.parent / name), model_platform="tensorflow"
        )
    with pytest.raises(
        grpc.RpcError, match=r"1 model.s. did not become available: {{name: broken version: 1"
    ) as caught:
        running.models.HandleReloadConfigRequest(request, timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    running.models.HandleReloadConfigRequest(request, timeout=60)  # it is no longer new
    assert running.predict({"x": X}).model_spec.version.value == 1
    shutil.rmtree(base.parent / "broken" / "1")
    running.models.HandleReloadConfigRequest(request, timeout=60)
