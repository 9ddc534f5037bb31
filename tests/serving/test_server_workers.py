"""The threads that run gRPC's requests."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from attnexport.serving.server import memory
from attnexport.serving.server.workers import Workers


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
    assert not ended.wait(0.6)
    left, arrived = 1 << 24, np.ones(1 << 25, np.uint8)
    assert ended.wait(60)
    assert arrived.all()
    workers.shutdown()


def test_a_machine_says_how_much_memory_is_left() -> None:
    assert 0 < memory.bytes_left() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
