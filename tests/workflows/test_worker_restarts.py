"""A worker of `serve --workers` that dies, refuses or sticks: it is started again, later and later."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from attnexport.core.errors import ContentError, ProcessError
from attnexport.workflows import serve_workers
from attnexport.workflows.serve_plan import ServePlan
from attnexport.workflows.serve_settings import ServeSettings
from attnexport.workflows.serve_share import Share


class FakeChild:
    """A process that starts as often as it is asked to, and fails as it is told.

    Attributes:
        failures: What its starts raise, one after another.
        starts: How many there were.
        closed: How many processes were ended.
    """

    def __init__(self, failures: list[Exception]) -> None:
        self.failures, self.starts, self.closed = failures, 0, 0
        self.pid: int | None = 1
        self.timeout = 0.0

    def enter(self, *arguments: Any) -> None:
        self.starts += 1
        self.pid = self.starts
        if self.failures:
            raise self.failures.pop(0)

    def call(self, function: Any) -> Any:
        assert self.timeout <= 30, "a worker that says nothing is not waited for"
        if self.starts == 0:
            raise ProcessError("it was killed (signal 9)")
        return []

    def close(self) -> None:
        self.closed += 1
        self.pid = None


class Pauses(threading.Event):
    """An event that remembers how long it was waited for, and is set after a number of such waits."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.pauses = most, list[float]()

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None and timeout >= 1.0:
            self.pauses.append(timeout)
        self.most -= 1
        if self.most == 0:
            self.set()
        return self.is_set()


def watch(child: FakeChild, most: int) -> tuple[list[float], list[str]]:
    events: list[str] = []
    share = Share(2, 1, None, "")
    worker = serve_workers._Worker(1, ServePlan(Path("m"), 1, None, ServeSettings()), share, events.append)
    worker._child = child  # type: ignore[assignment]
    ending = Pauses(most)
    worker._watch(ending)
    return ending.pauses, events


@pytest.mark.parametrize("failure", [ContentError("there is nothing to serve"), OSError("no process can be had")])
def test_a_worker_that_cannot_start_is_started_again_later_and_later(failure: Exception) -> None:
    child = FakeChild([failure] * 4)
    pauses, events = watch(child, 14)
    assert pauses[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert child.closed == 5, "one that refused still ran"
    assert events[-1] == "worker 1: it serves again"


def test_a_long_time_of_failures_does_not_count_as_a_long_time_of_service(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(serve_workers.time, "monotonic", lambda: next(clock))
    pauses, _ = watch(FakeChild([ContentError("no")] * 20), 20)
    assert pauses == [min(2.0**number, 60.0) for number in range(len(pauses))]
    assert len(pauses) > 7
