"""The threads that run gRPC's requests."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.serving.server import ModelConfig, memory
from attnexport.serving.server.workers import Workers
from tests.waiting import eventually
from tests.waiting_model import WaitingModel


def test_every_task_runs_once_and_tells_its_end_once() -> None:
    workers, done = Workers(3), threading.Semaphore(0)
    ran: list[int] = []
    ended: list[object] = []

    def end(ending: object) -> None:
        ended.append(ending)
        done.release()

    endings = [workers.submit(ran.append, number) for number in range(500)]
    for ending in endings:
        ending.add_done_callback(end)
    for _ in endings:
        assert done.acquire(timeout=60)
    workers.shutdown()
    assert sorted(ran) == list(range(500))
    assert len(ended) == len(set(map(id, ended))) == 500


def test_as_many_run_at_once_as_there_are_threads() -> None:
    workers, meeting, done = Workers(4), threading.Barrier(4, timeout=60), threading.Semaphore(0)
    for _ in range(4):
        workers.submit(meeting.wait).add_done_callback(lambda _: done.release())
    for _ in range(4):
        assert done.acquire(timeout=60)
    assert not meeting.broken
    workers.shutdown()


def test_a_task_that_fails_takes_no_thread_with_it(caplog: pytest.LogCaptureFixture) -> None:
    workers, done = Workers(1), threading.Event()
    with caplog.at_level(logging.ERROR):
        workers.submit(lambda: 1 / 0)
        workers.submit(done.set)
        assert done.wait(60)
        workers.shutdown()
    assert "ZeroDivisionError" in caplog.text


def test_a_task_that_never_ends_does_not_keep_the_others_from_ending() -> None:
    workers, begun, go = Workers(2), threading.Event(), threading.Event()
    workers.submit(lambda: (begun.set(), go.wait(60)))
    assert begun.wait(60)
    workers.shutdown()
    assert sum(thread.is_alive() for thread in workers._threads) == 1
    go.set()


@pytest.mark.parametrize("is_flooded", [False, True])
def test_in_a_flood_alone_the_newest_task_is_the_next_but_one(is_flooded: bool) -> None:
    """Those that came before are the flood, and an honest call would wait until all of it is ended."""
    begun, go, done = threading.Event(), threading.Event(), threading.Semaphore(0)
    workers = Workers(1)
    ran: list[int] = []

    def wait() -> None:
        begun.set()
        assert go.wait(60)

    workers.submit(wait)
    assert begun.wait(60)
    flood = 300
    for number in range(flood):
        workers.submit(ran.append, number).add_done_callback(lambda _: done.release())
    workers._tasks.is_flooded = is_flooded
    go.set()
    for _ in range(flood):
        assert done.acquire(timeout=60)
    workers.shutdown()
    turns = zip(range(flood - 1, -1, -1), range(flood), strict=True)
    assert ran == ([number for turn in turns for number in turn][:flood] if is_flooded else [*range(flood)])


def test_calls_are_ended_when_arriving_messages_take_more_than_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, ended = Workers(1), threading.Event()
    left = 1 << 40
    monkeypatch.setattr(memory, "bytes_left", lambda: left)

    def messages() -> Iterator[bytes]:
        yield b"" if ended.wait(60) else b"late"

    workers.submit(lambda: workers.receive(messages(), ended.set))
    eventually(lambda: workers._arrivals._before)
    assert not ended.wait(0.3)  # longer than a call may wait before it makes room
    left, arrived = 1 << 24, np.ones(1 << 25, np.uint8)
    assert ended.wait(60)
    assert arrived.all()
    workers.shutdown()


def test_growth_before_a_call_waited_is_not_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was loaded, say, while calls overlapped so that always one waited."""
    arrivals, process = memory.Arrivals(), tmp_path / "statm"
    monkeypatch.setattr(memory, "_PROCESS", process)
    left = [600]
    monkeypatch.setattr(memory, "bytes_left", lambda: left[0] << 20)

    def take_too_much(megabytes: int, *waiting: float) -> bool:
        process.write_text(f"0 {(megabytes << 20) // os.sysconf('SC_PAGE_SIZE')} 0")
        return arrivals.take_too_much(waiting)

    assert not take_too_much(100, 1.0)
    assert take_too_much(1000, 1.0, 2.0)
    assert not take_too_much(1000, 2.0)
    assert not take_too_much(1400, 2.0, 3.0)
    assert take_too_much(1700, 3.0, 2.0)
    assert not take_too_much(1700, 3.0)
    left[0] = 500  # memory is short, and 3.0 may hold what came while 2.0 waited
    assert take_too_much(1700, 3.0)
    assert not take_too_much(1700)
    assert not take_too_much(5000, 4.0)


def test_models_that_are_loaded_while_a_call_waits_are_not_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as their files explain it: 3 bytes for each, and 64 MiB."""
    process, models = tmp_path / "statm", memory.Models()
    monkeypatch.setattr(memory, "_PROCESS", process)
    monkeypatch.setattr(memory, "MODELS", models)
    left = [600]
    monkeypatch.setattr(memory, "bytes_left", lambda: left[0] << 20)
    arrivals = memory.Arrivals()

    def take_too_much(megabytes: int) -> bool:
        grow(megabytes)
        return arrivals.take_too_much([1.0])

    def grow(megabytes: int) -> None:
        process.write_text(f"0 {(megabytes << 20) // os.sysconf('SC_PAGE_SIZE')} 0")

    assert not take_too_much(100)
    with models.changing(1 << 30):
        assert not take_too_much(2100)
    assert take_too_much(2800)
    assert not take_too_much(2600), "500 MB of messages"
    with models.changing(1 << 30, is_freed=True):
        grow(600)
    assert not take_too_much(600)
    assert take_too_much(800), "what was freed is no room for messages"
    grow(100)
    with models.changing(1 << 20):
        assert take_too_much(1000), "more than the files explain"
    left[0] = 400
    arrivals = memory.Arrivals()
    assert not take_too_much(100)
    with models.changing(1 << 30):
        assert not take_too_much(600), "nor where memory is short"
    assert not take_too_much(900)
    assert take_too_much(1100)


def test_a_version_says_when_its_model_changes_memory(start_serving: Any, tmp_path: Path) -> None:
    model, changes = WaitingModel(), list[tuple[int, bool]]()
    model.go.set()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "weights").write_bytes(bytes(100_000))
    changing = memory.MODELS.changing

    def noted(size: int, *, is_freed: bool = False) -> Any:
        changes.append((size, is_freed))
        return changing(size, is_freed=is_freed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory.MODELS, "changing", noted)
        start_serving([ModelConfig("m", tmp_path)], loader=model).stop()
    assert [is_freed for _, is_freed in changes] == [False, True]
    assert all(100_000 <= size < 120_000 for size, _ in changes)


def test_calls_that_wait_for_something_else_have_no_arriving_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that watch the health, for example."""
    workers, go, asked = Workers(1), threading.Event(), list[Sequence[float]]()
    monkeypatch.setattr(workers._arrivals, "take_too_much", asked.append)

    def watch() -> None:
        with workers.not_running():
            go.wait(60)

    workers.submit(watch)
    eventually(lambda: workers._wanted > 1)
    first = len(asked)
    eventually(lambda: len(asked) > first + 1)
    assert not any(asked)
    go.set()
    workers.shutdown()


def test_a_system_that_hides_its_memory_ends_no_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\n")
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "meminfo")
    assert not memory.Arrivals().take_too_much([1.0])


def test_a_machine_says_how_much_memory_is_left() -> None:
    assert 0 < memory.bytes_left() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
