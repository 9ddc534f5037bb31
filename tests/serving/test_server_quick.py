"""Small requests to quick models are answered by the event loop itself, all others by threads."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlparse

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from attnexport.core import Arrays
from attnexport.exporter.steady import is_steady
from attnexport.serving.server import ModelConfig, pace, rest_app
from tests.serving.rest_connections import (
    ASKING,
    BODY,
    ECHOED,
    PREDICT,
    STATUS,
    UNFINISHED,
    WHOLE,
    answered,
    connected,
    serve,
)
from tests.waiting_model import WaitingModel

rest_httptools = pytest.importorskip("attnexport.serving.server.rest_httptools")
LOOP = "rest"  # the name of its thread


class SteadyModel(WaitingModel):
    """Answers at once, and remembers in which thread."""

    is_steady = True

    def __init__(self) -> None:
        super().__init__((None,))
        self.go.set()
        self.threads: list[str] = []

    def run(self, *arguments: Any) -> Arrays:
        self.threads.append(threading.current_thread().name)
        return super().run(*arguments)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> SteadyModel:
    monkeypatch.setattr(pace, "_QUICK_SECONDS", 60.0)  # on any machine
    return SteadyModel()


@pytest.fixture
def start(start_serving: Callable[..., Any], tmp_path: Path, model: SteadyModel) -> Callable[..., Any]:
    return lambda **options: serve(start_serving, tmp_path, model, **options)


def ask(running: Any, count: int, path: str = PREDICT, body: Any = BODY, **headers: str) -> None:
    """Ask a number of times over one connection."""
    connection = http.client.HTTPConnection(urlparse(running.server.rest_address).netloc, timeout=60)
    for _ in range(count):
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, {"outputs": body["inputs"]})
    connection.close()


def test_requests_of_a_kind_that_was_quick_are_answered_by_the_loop(
    start: Callable[..., Any], model: SteadyModel
) -> None:
    running = start()
    ask(running, pace._ENOUGH)
    assert LOOP not in model.threads
    model.threads.clear()
    ask(running, 3)
    assert model.threads == [LOOP] * 3
    ask(running, 1, body={"inputs": [1.0, 2.0, 3.0]})
    assert model.threads[-1] != LOOP, "another shape may take another time"
    assert 'request_count{model_name="m",status="OK"} 20.0' in running.http("/monitoring/prometheus/metrics")[1]


def exchange(connection: socket.socket, request: bytes) -> tuple[int, bytes, dict[str, str]]:
    """The answer to a request, without the time in it."""
    connection.sendall(request)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    headers = {name: value for name, value in answer.getheaders() if name.lower() != "date"}
    return answer.status, answer.read(), headers


def test_what_the_loop_answers_is_what_threads_answer(start: Callable[..., Any], model: SteadyModel) -> None:
    requests = (WHOLE, UNFINISHED % 1 + b"{", ASKING)
    with connected(start(cors=True)) as connection:
        by_threads = [exchange(connection, request) for request in requests]
        for _ in range(pace._ENOUGH):
            exchange(connection, WHOLE)
        model.threads.clear()
        assert [exchange(connection, request) for request in requests] == by_threads
        assert model.threads == [LOOP]
        connection.sendall(WHOLE + ASKING + WHOLE)
        received = b""
        while received.count(b'"outputs"') < 2:
            received += connection.recv(1 << 16)
        words = re.findall(rb'"outputs"|"model_version_status"', received)
        assert words == [b'"outputs"', b'"model_version_status"', b'"outputs"'], "in order"
        assert model.threads[1] == LOOP
        assert model.threads[2] != LOOP, "it waits behind another one"


@pytest.mark.parametrize(
    "headers",
    [{"Content-Encoding": "gzip"}, {"Expect": "100-continue"}, {"Connection": "close"}],
    ids=["gzip", "expect", "close"],
)
def test_what_asks_for_more_than_an_answer_goes_to_a_thread(
    start: Callable[..., Any], model: SteadyModel, headers: dict[str, str]
) -> None:
    running = start()
    ask(running, pace._ENOUGH + 1)
    assert model.threads[-1] == LOOP
    body = json.dumps(BODY).encode()
    packed = gzip.compress(body) if "Content-Encoding" in headers else body
    assert running.http(PREDICT, packed, headers) == ECHOED
    assert model.threads[-1] != LOOP


def test_what_is_refused_is_not_handed_over_when_its_time_is_over() -> None:
    """A client that reads nothing keeps the connection until then."""
    written, ended = bytearray(), list[bool]()
    connection = object.__new__(rest_httptools.LimitedHttpTools)
    connection.cycle, connection._body = None, bytearray(b"{")
    connection.timer = SimpleNamespace(cancel=lambda: ended.append(True))
    connection.transport = SimpleNamespace(is_closing=lambda: False, write=written.extend, close=lambda: None)
    connection.send_400_response("")
    assert written.startswith(b"HTTP/1.1 413 ")
    assert (connection._body, connection.timer, ended) == (None, None, [True])


def test_a_request_in_parts_is_whole_when_its_last_part_has_come(
    start: Callable[..., Any], model: SteadyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    ask(running, pace._ENOUGH)
    with connected(running) as connection:
        for patience, is_here in ((60.0, True), (0.0, False)):
            monkeypatch.setattr(rest_httptools, "_PATIENCE_SECONDS", patience)
            for part in (WHOLE[:20], WHOLE[20:-5], WHOLE[-5:]):
                connection.sendall(part)
                time.sleep(0.05)
                assert running.http(STATUS)[0] == 200, "so it has come"
            assert answered(connection)[:2] == ECHOED
            assert (model.threads[-1] == LOOP) is is_here


@pytest.mark.parametrize("size", [200_000, 5_000_000])
def test_a_large_request_to_a_quick_target_is_answered_in_a_thread(
    start: Callable[..., Any], model: SteadyModel, size: int
) -> None:
    """Its headers come apart from its body, and parts of the body one after another, as many clients send it."""
    running = start()
    ask(running, pace._ENOUGH + 1)
    assert model.threads[-1] == LOOP
    body = json.dumps(BODY).encode() + b" " * size
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with connected(running, head) as connection:
        for begin in range(0, len(body), 50_000):
            assert running.http(STATUS)[0] == 200, "so it has come"
            connection.sendall(body[begin : begin + 50_000])
        assert answered(connection)[:2] == ECHOED
    assert model.threads[-1] != LOOP


def test_a_request_that_has_begun_when_the_server_ends_is_answered(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_httptools, "_PATIENCE_SECONDS", 60.0)
    running = start()
    ask(running, pace._ENOUGH)
    with connected(running, WHOLE[:-5]) as connection:
        assert running.http(STATUS)[0] == 200, "so it has come"
        stopping = threading.Thread(target=running.server.stop)
        stopping.start()
        with contextlib.suppress(OSError):
            while True:  # until it takes no more connections
                running.http(STATUS)
                time.sleep(0.01)
        connection.sendall(WHOLE[-5:])
        assert answered(connection) == (*ECHOED, True)
        stopping.join(60)


@pytest.mark.parametrize("why", ["unsteady", "slow", "log"])
def test_the_loop_waits_for_no_other_model(
    start_serving: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    model = SteadyModel()
    model.is_steady = why != "unsteady"
    monkeypatch.setattr(pace, "_QUICK_SECONDS", 0.0 if why == "slow" else 60.0)
    (tmp_path / "1").mkdir()
    if why == "log":
        monkeypatch.setattr(rest_app, "no_access_log", None)  # so that the one it has counts as one
    running = start_serving([ModelConfig("m", tmp_path)], loader=model)
    ask(running, pace._ENOUGH + 3)
    assert LOOP not in model.threads


def test_a_kind_that_becomes_slow_leaves_the_loop_at_once(start: Callable[..., Any], model: SteadyModel) -> None:
    running = start()
    ask(running, pace._ENOUGH + 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pace, "_QUICK_SECONDS", 0.0)
        ask(running, 1)
    assert model.threads[-2:] == [LOOP, LOOP]
    ask(running, 3)
    assert LOOP not in model.threads[-3:]


@pytest.mark.parametrize(
    ("operators", "steady"),
    [(("Placeholder", "MatMul"), True), (("Placeholder", "While"), False), (("Fill",), False), (("Later",), False)],
)
def test_graphs_whose_values_decide_what_there_is_to_do_are_not_steady(
    operators: tuple[str, ...], steady: bool
) -> None:
    for place in ("node", "function"):
        program = saved_model_pb2.SavedModel()
        graph = program.meta_graphs.add().graph_def
        nodes = graph.node if place == "node" else graph.library.function.add().node_def
        for operator in operators:
            nodes.add(op=operator)
        assert is_steady(program) is steady
    assert not is_steady(None)


@pytest.mark.parametrize(("sized_by", "steady"), [("shape", True), ("x", False)])
def test_a_slice_up_to_what_an_input_holds_is_not_steady(sized_by: str, steady: bool) -> None:
    program = saved_model_pb2.SavedModel()
    nodes = program.meta_graphs.add().graph_def.library.function.add().node_def
    nodes.add(name="x", op="Placeholder")
    nodes.add(name="shape", op="Shape", input=["x"])
    nodes.add(name="zero", op="Const")
    nodes.add(name="end", op="Pack", input=[f"{sized_by}:output:0", "^zero"])
    nodes.add(op="StridedSlice", input=["x", "zero:output:0", "end:output:0", "zero:output:0"])
    assert is_steady(program) is steady
