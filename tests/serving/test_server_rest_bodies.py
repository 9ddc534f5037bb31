"""Bodies of REST requests: those that do not end, that are too large or too many, and gzip."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from attnexport.serving.server import StatusError, rest_app, rest_bodies
from attnexport.serving.server.rest_api import RestApi, unpack
from tests.serving.rest_connections import (
    ASKING,
    BODY,
    CHUNKED,
    ECHOED,
    PREDICT,
    STATUS,
    UNFINISHED,
    WHOLE,
    answered,
    connected,
    instant_model,
    serve,
)
from tests.waiting import eventually
from tests.waiting_model import WaitingModel

ROWS = [[1.5, -2.0, 3.25], [0.0, 4.0, -0.5]]


@pytest.fixture
def model() -> WaitingModel:
    return instant_model()


@pytest.fixture
def start(start_serving: Callable[..., Any], tmp_path: Path, model: WaitingModel) -> Callable[..., Any]:
    return partial(serve, start_serving, tmp_path, model)


def test_bodies_that_do_not_end_lock_nobody_out_and_end_in_408(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_bodies, "MAX_WAITING", 2)
    running = start(timeout_seconds=5.0)
    with contextlib.ExitStack() as stack:
        halves = [stack.enter_context(connected(running, UNFINISHED % 10 + b"{")) for _ in range(5)]
        assert running.http(PREDICT, BODY) == ECHOED
        for half in halves:
            status, answer, closes = answered(half)
            assert (status, list(answer), closes) == (408, ["error"], True)
            assert half.recv(1) == b""


def test_without_a_limit_on_running_the_body_still_has_one(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start(timeout_seconds=0)
    assert running.http(PREDICT, BODY) == ECHOED
    monkeypatch.setattr(rest_bodies, "_BODY_SECONDS", 0.2)
    with connected(running, UNFINISHED % 10) as half:
        assert answered(half)[0] == 408


def test_so_many_requests_may_wait_whether_or_not_their_clients_still_do(
    start: Callable[..., Any], model: WaitingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_bodies, "MAX_WAITING", 2)
    running = start(threads=1, timeout_seconds=3.0)
    model.go.clear()
    assert running.http(PREDICT, BODY)[0] == 504  # it runs on
    with connected(running, WHOLE):  # it waits for the thread, with its body
        eventually(lambda: running.http(STATUS)[0] == 429)
    assert running.http(PREDICT, BODY)[0] == 429
    model.go.set()
    eventually(lambda: running.http(PREDICT, BODY)[0] != 429)
    assert model.calls == 2


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(start: Callable[..., Any]) -> None:
    running = start(max_body_bytes=100)
    with connected(running, UNFINISHED % 101) as connection:
        status, answer, closes = answered(connection)
        assert (status, list(answer), closes) == (413, ["error"], True)
    assert running.http(PREDICT, bytes(20_000_000))[0] == 413, "this client sends all before it reads"
    with connected(running, CHUNKED + b"80\r\n" + bytes(128) + b"\r\n") as connection:
        assert answered(connection)[0] == 413


def test_a_body_that_is_refused_when_all_of_it_is_here_leaves_its_connection_to_the_next(
    start: Callable[..., Any],
) -> None:
    with connected(start(max_body_bytes=100), CHUNKED + b"80\r\n" + bytes(128) + b"\r\n0\r\n\r\n") as connection:
        status, _, closes = answered(connection)
        assert (status, closes) == (413, False)
        connection.sendall(ASKING)
        assert answered(connection)[0] == 200


def test_where_no_thread_can_be_started_the_answer_says_so_and_nothing_stays_held(
    start: Callable[..., Any], model: WaitingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_bodies, "MAX_WAITING", 2)
    monkeypatch.setattr(rest_bodies, "_MAX_HELD", 1)
    running, large = start(max_body_bytes=300_000), json.dumps(BODY).encode().ljust(200_000)
    usual = threading.Thread.start

    def exhausted(thread: threading.Thread) -> None:
        if thread.name.startswith("rest_"):
            raise RuntimeError("can't start new thread")
        usual(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", exhausted)
        for _ in range(3):
            assert running.http(PREDICT, large) == (429, {"error": "can't start new thread; try later"})
    assert running.http(PREDICT, large) == ECHOED
    assert model.calls == 1


def test_large_bodies_that_are_read_are_limited_together_and_small_ones_pass(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_bodies, "_MAX_HELD", 1)
    bodies: list[rest_bodies.Bodies] = []

    class Watched(rest_bodies.Bodies):
        def __init__(self, largest: int) -> None:
            super().__init__(largest)
            bodies.append(self)

    monkeypatch.setattr(rest_app, "Bodies", Watched)
    running = start(max_body_bytes=300_000)
    [held] = bodies
    large = json.dumps(BODY).encode().ljust(200_000)
    assert running.http(PREDICT, large) == ECHOED
    with connected(running, UNFINISHED % len(large) + large[:-1]) as half:
        # Of two that are read at once either may be refused, so the second comes when the first has been read.
        eventually(lambda: held._held == len(large) - 1)
        assert running.http(PREDICT, large)[0] == 429
        assert running.http(PREDICT, BODY) == ECHOED
        half.sendall(large[-1:])
        assert answered(half)[:2] == ECHOED
    assert running.http(PREDICT, large) == ECHOED
    with connected(running, UNFINISHED % len(large) + large[:-1]):
        pass
    eventually(lambda: running.http(PREDICT, large) == ECHOED)  # it is seen that this client has gone


def test_what_nobody_waits_for_after_its_json_was_read_is_not_run(
    start: Callable[..., Any], model: WaitingModel
) -> None:
    api = RestApi(start().server.plane, lambda *_: None, 1000)
    assert api.respond("POST", PREDICT, json.dumps(BODY).encode(), iter([True, False]).__next__).status == 504
    assert model.calls == 0


def test_members_of_gzip_are_joined_within_the_limit(start: Callable[..., Any]) -> None:
    body, packed = json.dumps(BODY).encode(), {"Content-Encoding": "gzip"}
    running = start(max_body_bytes=200)
    for name, status in (("x-gzip", 200), ("deflate, gzip", 200), ("GZIP", 400), ("br", 400)):  # as TF Serving reads it
        assert running.http(PREDICT, gzip.compress(body), {"Content-Encoding": name})[0] == status, name
    halves = gzip.compress(body[:9]) + gzip.compress(b"") + gzip.compress(body[9:])
    assert running.http(PREDICT, halves, packed) == ECHOED
    assert running.http(PREDICT, halves + gzip.compress(b" " * 200), packed)[0] == 413
    for behind in (b"\0", b"\0" * 100, b"\x1f", gzip.compress(b" ")[:-1]):
        assert running.http(PREDICT, halves + behind, packed)[0] == 400


def test_many_members_and_much_behind_them_cost_no_more_than_their_length() -> None:
    assert unpack(gzip.compress(b"") * 200_000 + gzip.compress(b"{}"), 2) == b"{}"
    with pytest.raises(StatusError):
        unpack(gzip.compress(b"{}") + bytes(64 << 20), 128 << 20)
    with pytest.raises(StatusError, match="the client disconnected"):
        unpack(gzip.compress(b"") * 200_000, 2, iter([True, False]).__next__)


def test_gzip_is_unpacked_and_what_is_none_refused(serving: Any) -> None:
    body, packed = json.dumps({"inputs": ROWS}).encode(), {"Content-Encoding": "gzip"}
    assert serving.http(PREDICT, gzip.compress(body), packed)[0] == 200
    assert serving.http(PREDICT, body, packed)[0] == 400
    assert serving.http(PREDICT, gzip.compress(body)[:-12], packed)[0] == 400


def test_bodies_are_limited_packed_ones_by_what_they_unpack_to(start_serving: Any, model_base: Any) -> None:
    from attnexport.serving.server import ModelConfig, RestOptions

    running = start_serving([ModelConfig("m", model_base)], rest=RestOptions(max_body_bytes=1000))
    body = json.dumps({"inputs": ROWS * 100}).encode()
    assert running.http(PREDICT, body)[0] == 413
    assert running.http(PREDICT, gzip.compress(body), {"Content-Encoding": "gzip"})[0] == 413
    assert running.http(PREDICT, {"inputs": ROWS})[0] == 200
