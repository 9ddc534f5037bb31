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

from attnexport.serving.server import GrpcOptions, ModelConfig
from tests.waiting_model import WaitingModel


@pytest.fixture
def busy(start_serving: Any, tmp_path: Path) -> Iterator[Any]:
    """A server whose only thread for models runs one."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    model = WaitingModel()
    running = start_serving([ModelConfig("m", tmp_path / "m")], model, grpc=GrpcOptions(threads=1, health=True))
    calling = threading.Thread(target=running.predict, args=({"x": np.ones((1, 3), np.float32)},))
    calling.start()
    assert model.entered.acquire(timeout=60)
    yield running
    model.go.set()
    calling.join()


def test_status_metadata_health_and_reload_wait_for_no_model(busy: Any, tmp_path: Path) -> None:
    asked = {"name": "m"}
    status = busy.models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=asked), timeout=30)
    assert [each.state for each in status.model_version_status] == [30]
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=asked, metadata_field=["signature_def"])
    assert busy.predictions.GetModelMetadata(request, timeout=30).model_spec.version.value == 1
    health = health_pb2_grpc.HealthStub(busy.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=30).status == 1
    assert next(health.Watch(health_pb2.HealthCheckRequest(), timeout=30)).status == 1
    reload = model_management_pb2.ReloadConfigRequest()
    reload.config.model_config_list.config.add(
        name="m", base_path=str(tmp_path / "m"), model_platform="tensorflow", version_labels={"stable": 1}
    )
    assert busy.models.HandleReloadConfigRequest(reload, timeout=30).status.error_code == 0
