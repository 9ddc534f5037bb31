"""A model whose base path changes: what becomes of the version that another one takes the place of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from attnexport.serving.server import BatchingOptions, ModelConfig
from tests.waiting_model import WaitingModel

X = np.ones((1, 3), np.float32)


class Loader(WaitingModel):
    """Loads a model of its own from each base path.

    Attributes:
        models: By the names of their base paths.
    """

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, WaitingModel] = {}

    def load(self, path: Path) -> WaitingModel:
        return self.models.setdefault(path.parent.name, WaitingModel())


@pytest.fixture(params=[1, 2])
def paths(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """The base path of version 1, and that of the same number or another one."""
    (tmp_path / "old" / "1").mkdir(parents=True)
    (tmp_path / "new" / str(request.param)).mkdir(parents=True)
    return tmp_path / "old", tmp_path / "new"


@pytest.mark.parametrize("batching", [None, BatchingOptions(num_batch_threads=1)])
def test_the_old_version_is_closed(
    start_serving: Callable[..., Any], paths: tuple[Path, Path], batching: BatchingOptions | None
) -> None:
    old, new = paths
    loader = Loader()
    running = start_serving([ModelConfig("m", old)], loader=loader, batching=batching)
    running.server.manager.configure([ModelConfig("m", new)])
    assert loader.models["old"].closed.wait(60)
    assert not loader.models["new"].closed.is_set()
    loader.models["new"].go.set()
    running.predict({"x": X})
    assert [loader.models[name].calls for name in ("old", "new")] == [0, 1]
    assert running.server.stop()


def test_a_request_that_holds_the_old_version_is_told_of_when_the_server_ends(
    start_serving: Callable[..., Any], paths: tuple[Path, Path]
) -> None:
    old, new = paths
    loader = Loader()
    running = start_serving([ModelConfig("m", old)], loader=loader, grace_seconds=0.2)
    held = loader.models["old"]

    def ask() -> None:
        with pytest.raises(grpc.RpcError):
            running.predict({"x": X})

    asking = threading.Thread(target=ask)
    asking.start()
    assert held.entered.acquire(timeout=60)
    running.server.manager.configure([ModelConfig("m", new)])
    assert not running.server.stop()
    assert "model 'm' version 1 still runs a request and stays loaded" in running.events
    assert not held.closed.is_set()
    held.go.set()
    assert held.closed.wait(60)
    asking.join()
