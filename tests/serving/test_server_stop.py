"""The end of a server: what it waits for, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from attnexport.core import Signature, TensorSpec
from attnexport.serving.server import BatchingOptions, ModelConfig

X = np.ones((1, 3), np.float32)


class Endless:
    """A model whose calls end when they are let go."""

    runtime, definitions = "TF1", b""

    def __init__(self) -> None:
        x, y = (TensorSpec(name, "float32", (None, 3)) for name in "xy")
        self.signatures = {"serving_default": Signature("serving_default", (x,), (y,))}
        self.entered, self.let_go, self.closed = threading.Event(), threading.Event(), threading.Event()

    def find(self, directory: Path, artifact: str | None) -> Path:
        return directory

    def load(self, path: Path) -> Endless:
        return self

    def run(self, inputs: Any, signature: str, outputs: Any) -> Any:
        self.entered.set()
        assert self.let_go.wait(60)
        return {"y": inputs["x"]}

    def warmup_records(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        assert self.let_go.is_set(), "a request still runs"
        self.closed.set()


@pytest.mark.parametrize("batching", [None, BatchingOptions(num_batch_threads=1)])
def test_it_ends_after_the_grace_and_leaves_a_model_to_the_request_that_runs_on(
    start_serving: Callable[..., Any], tmp_path: Path, batching: BatchingOptions | None
) -> None:
    (tmp_path / "1").mkdir()
    model = Endless()
    running = start_serving([ModelConfig("m", tmp_path)], loader=model, grace_seconds=0.2, batching=batching)

    def ask() -> None:
        with pytest.raises(grpc.RpcError):
            running.predict({"x": X})

    asking = threading.Thread(target=ask)
    asking.start()
    assert model.entered.wait(60)
    begin = time.monotonic()
    assert not running.server.stop()
    assert time.monotonic() - begin < 30
    assert not model.closed.is_set()
    model.let_go.set()
    assert model.closed.wait(60)
    asking.join()


def test_it_ends_while_a_version_is_being_loaded(start_serving: Callable[..., Any], tmp_path: Path) -> None:
    class EndlessToLoad(Endless):
        def load(self, path: Path) -> Endless:
            self.entered.set()
            assert self.let_go.wait(60)
            return self

    model = EndlessToLoad()
    running = start_serving([ModelConfig("m", tmp_path)], loader=model, grace_seconds=0.1, poll_seconds=0.01)
    (tmp_path / "1").mkdir()
    assert model.entered.wait(60)
    assert not running.server.stop()
    assert not model.let_go.is_set()
    model.let_go.set()
