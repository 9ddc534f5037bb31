"""The end of a server: what it waits for, and for how long."""

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


@pytest.mark.parametrize("batching", [None, BatchingOptions(num_batch_threads=1)])
def test_it_ends_after_the_grace_and_leaves_a_model_to_the_request_that_runs_on(
    start_serving: Callable[..., Any], tmp_path: Path, batching: BatchingOptions | None
) -> None:
    (tmp_path / "1").mkdir()
    model = WaitingModel()
    running = start_serving([ModelConfig("m", tmp_path)], loader=model, grace_seconds=0.2, batching=batching)

    def ask() -> None:
        with pytest.raises(grpc.RpcError):
            running.predict({"x": X})

    asking = threading.Thread(target=ask)
    asking.start()
    assert model.entered.acquire(timeout=60)
    assert not running.server.stop()
    assert "model 'm' version 1 still runs a request and stays loaded" in running.events
    assert not model.closed.is_set()
    model.go.set()
    assert model.closed.wait(60)
    asking.join()


def test_a_model_that_takes_long_to_free_is_not_taken_for_a_request(
    start_serving: Callable[..., Any], tmp_path: Path
) -> None:
    class LongToFree(WaitingModel):
        def close(self) -> None:
            assert self.go.wait(60)
            super().close()

    (tmp_path / "1").mkdir()
    model = LongToFree()
    running = start_serving([ModelConfig("m", tmp_path)], loader=model, grace_seconds=0.0)
    assert not running.server.stop()
    assert not any("still runs" in event for event in running.events)
    model.go.set()
    assert model.closed.wait(60)


def test_it_ends_while_a_version_is_being_loaded_which_is_closed_then(
    start_serving: Callable[..., Any], tmp_path: Path
) -> None:
    class LongToLoad(WaitingModel):
        def load(self, path: Path) -> WaitingModel:
            self.entered.release()
            assert self.go.wait(60)
            return self

    model = LongToLoad()
    running = start_serving([ModelConfig("m", tmp_path)], loader=model, grace_seconds=0.1, poll_seconds=0.01)
    (tmp_path / "1").mkdir()
    assert model.entered.acquire(timeout=60)
    assert not running.server.stop()
    assert not model.closed.is_set()
    model.go.set()
    assert model.closed.wait(60)


def test_a_signal_that_another_thread_takes_ends_it_too(run_python: Any) -> None:
    """Which is the kernel's choice; the main thread waits without end."""
    done = run_python("""
import signal, threading, time
from attnexport.cli.serve import _sigterm
def take():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
with _sigterm() as wait:
    thread = threading.Thread(target=take)
    thread.start()
    wait()
    thread.join()
""")
    assert done.returncode == 0, done.stderr
