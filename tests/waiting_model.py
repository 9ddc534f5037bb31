"""A model for a server whose calls take as long as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from attnexport.core import Arrays, Signature, TensorSpec
from attnexport.serving.server.loading import signature_definitions


class WaitingModel:
    """Answers `x` as `y`, once it may go; its own loader.

    Attributes:
        calls: How many have begun.
        entered: Released by each call that begins.
        go: Calls wait for it.
        closed: That nobody holds the model any more.
    """

    runtime, strict_shapes, is_steady = "TF1", True, False

    def __init__(self, shape: tuple[int | None, ...] = (None, 3)) -> None:
        x, y = (TensorSpec(name, "float32", shape) for name in "xy")
        self.signatures = {"serving_default": Signature("serving_default", (x,), (y,))}
        self.definitions, self.defaults = signature_definitions(self.signatures), {}
        self.calls, self.entered = 0, threading.Semaphore(0)
        self.go, self.closed = threading.Event(), threading.Event()

    def find(self, directory: Path, artifact: str | None) -> Path:
        return directory

    def load(self, path: Path) -> WaitingModel:
        return self

    def run(self, inputs: Arrays, signature: str, outputs: Sequence[str]) -> Arrays:
        self.calls += 1
        self.entered.release()
        assert self.go.wait(60)
        return {"y": inputs["x"]}

    def warmup_records(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        assert self.go.is_set() or not self.calls, "a call still runs"
        self.closed.set()
