"""A server whose models take long is busy, not ill: what runs no model is answered all the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2

from attnexport.serving.server import GrpcOptions, ModelConfig, RestOptions
from tests.waiting_model import WaitingModel


@pytest.fixture
def busy(start_serving: Any, tmp_path: Path) -> Iterator[Any]:
    """A server whose only threads for models, one at each edge, run one."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    model = WaitingModel()
    running = start_serving(
        [ModelConfig("m", tmp_path / "m")],
        model,
        grpc=GrpcOptions(threads=1, health_service=True),
        rest=RestOptions(threads=1),
    )
    calling = [
        threading.Thread(target=running.predict, args=({"x": np.ones((1, 3), np.float32)},)),
        threading.Thread(target=running.http, args=("/v1/models/m:predict", {"inputs": [[1, 2, 3]]})),
    ]
    for thread in calling:
        thread.start()
        assert model.entered.acquire(timeout=60)
    yield running
    model.go.set()
    for thread in calling:
        thread.join()


class LongToLoad(WaitingModel):
    """One whose later versions are loaded once it may go."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def load(self, path: Path) -> WaitingModel:
        self.loaded.append(path.name)
        if path.name != "1":
            self.entered.release()
            assert self.go.wait(60)
        return self


def configured(base: Path, **labels: int) -> Any:
    """A request for a new configuration."""
    reload = model_management_pb2.ReloadConfigRequest()
    reload.config.model_config_list.config.add(
        name="m", base_path=str(base), model_platform="tensorflow", version_labels=labels
    )
    return reload


def test_status_metadata_health_and_reload_wait_for_no_model(busy: Any, tmp_path: Path) -> None:
    asked = {"name": "m"}
    status = busy.models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=asked), timeout=30)
    assert [each.state for each in status.model_version_status] == [30]
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=asked, metadata_field=["signature_def"])
    assert busy.predictions.GetModelMetadata(request, timeout=30).model_spec.version.value == 1
    health = health_pb2_grpc.HealthStub(busy.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=30).status == 1
    assert next(health.Watch(health_pb2.HealthCheckRequest(), timeout=30)).status == 1
    reload = configured(tmp_path / "m", stable=1)
    assert busy.models.HandleReloadConfigRequest(reload, timeout=30).status.error_code == 0


def test_status_and_metadata_wait_for_no_model_over_rest(busy: Any) -> None:
    assert busy.http("/v1/models/m")[1]["model_version_status"][0]["state"] == "AVAILABLE"
    assert busy.http("/v1/models/m/metadata")[1]["model_spec"]["version"] == "1"


def test_reloads_keep_nobody_else_waiting_and_those_that_nobody_waits_for_are_not_run(
    start_serving: Any, tmp_path: Path
) -> None:
    for name in "123":
        (tmp_path / name / name).mkdir(parents=True)
    model = LongToLoad()
    running = start_serving([ModelConfig("m", tmp_path / "1")], model, grpc=GrpcOptions(health_service=True))
    reload, health = running.models.HandleReloadConfigRequest, health_pb2_grpc.HealthStub(running.channel)
    first = reload.future(configured(tmp_path / "2"), timeout=60)
    assert model.entered.acquire(timeout=60)
    waiting = [reload.future(configured(tmp_path / "3"), timeout=60) for _ in range(8)]
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=30).status == 1
    for each in waiting:
        each.cancel()
    for _ in range(20):  # what comes after a cancellation, on the same connection, has it seen by the server
        asked = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "m"})
        assert running.models.GetModelStatus(asked, timeout=30).model_version_status
    model.go.set()
    assert first.result().status.error_code == 0
    assert reload(configured(tmp_path / "2"), timeout=60).status.error_code == 0
    assert model.loaded == ["1", "2"]
