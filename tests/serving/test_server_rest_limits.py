"""Connections of the REST edge end when a head is too slow or too large, under httptools and h11 alike."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from attnexport.serving.server import RestOptions, rest_connections, rest_edge, rest_replies
from attnexport.serving.server.edges import no_access_log
from attnexport.serving.server.rest_edge import RestEdge
from tests.serving import rest_connections as asking

LARGE = 200_000  # bytes, of which 65536 are allowed


@pytest.fixture(params=["httptools", "h11"])
def edge(
    request: pytest.FixtureRequest, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], RestEdge]]:
    """Starts a REST edge of its own over the shared server's models."""
    if request.param == "h11":
        monkeypatch.setattr(rest_edge, "_protocol", rest_connections.h11_protocol)
        monkeypatch.setattr(rest_edge, "_loop_factory", lambda: None)
    started: list[RestEdge] = []

    def start() -> RestEdge:
        started.append(RestEdge(serving.server.plane, "127.0.0.1", 0, RestOptions(), no_access_log))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.stop(0)


@contextlib.contextmanager
def connected(port: int, data: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):  # it may be refused before all of it is sent
            connection.sendall(data)
        yield connection


def status(connection: socket.socket) -> int:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def all_of(port: int, data: bytes) -> bytes:
    """What comes until the connection ends."""
    answer = b""
    with connected(port, data) as connection, contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            answer += part
    return answer


def refusal(port: int, data: bytes) -> int | None:
    """The status that ends a connection; None if it only ends."""
    answer = all_of(port, data)
    return int(answer.split()[1]) if answer else None


def test_heads_that_do_not_come_in_time_end_their_connections(
    edge: Callable[[], RestEdge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_connections, "HEAD_SECONDS", 0.3)
    port = edge().port
    for part in (b"", b"GET /v1/models/m HT", asking.ASKING[:-2]):
        assert refusal(port, part) == 408
    with connected(port, asking.ASKING) as connection:
        assert status(connection) == 200
        connection.sendall(asking.ASKING[:-2])
        assert status(connection) == 408, "nor may the head of a later request"
    with connected(port, asking.ASKING + asking.ASKING[:-2]) as connection:
        assert status(connection) == 200


def test_what_is_slow_but_in_time_is_answered(edge: Callable[[], RestEdge]) -> None:
    with connected(edge().port) as connection:
        for byte in asking.ASKING:
            connection.sendall(bytes([byte]))
        assert status(connection) == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models/" + b"m" * LARGE + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/models/m HTTP/1.1\r\nx: " + b"y" * LARGE + b"\r\n\r\n",
        b"GET /v1/models/m HTTP/1.1\r\n" + b"x: y\r\n" * (LARGE // 6) + b"\r\n",
        b"x" * LARGE,
    ],
    ids=["path", "value", "headers", "line"],
)
def test_large_heads_are_refused(edge: Callable[[], RestEdge], head: bytes) -> None:
    assert refusal(edge().port, head) in (400, 431, None)


def test_a_head_at_the_limit_is_read(edge: Callable[[], RestEdge]) -> None:
    for size, wanted in ((60_000, 200), (65_530, 431)):
        data = b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\nx: " + b"y" * size + b"\r\n\r\n"
        with connected(edge().port, data) as connection:
            assert status(connection) in ((wanted,) if wanted == 200 else (400, 431))


@pytest.mark.parametrize(
    "rest",
    [b"1;" + b"x" * LARGE + b"\r\n{\r\n", b"1\r\n{\r\n0\r\n" + b"x: y\r\n" * (LARGE // 6) + b"\r\n"],
    ids=["chunk extension", "trailers"],
)
def test_what_surrounds_a_body_is_limited(edge: Callable[[], RestEdge], rest: bytes) -> None:
    assert refusal(edge().port, asking.CHUNKED + rest) in (413, 431, None)


@pytest.mark.parametrize("is_quick", [False, True])
@pytest.mark.parametrize("rest", [b"zz\r\n", b"-1\r\n{\r\n", b"3\r\n{{{{\r\n"])
def test_a_body_of_what_are_no_chunks_is_answered_as_tf_serving_does(
    edge: Callable[[], RestEdge], rest: bytes, is_quick: bool
) -> None:
    started = edge()
    if is_quick:
        started._app._quick.add("/v1/models/m:predict")
    assert refusal(started.port, asking.CHUNKED + rest) == 413
    assert refusal(started.port, asking.CHUNKED + b"1\r\n{\r\n" + rest) == 413
    with connected(started.port, asking.CHUNKED) as connection:
        time.sleep(0.1)  # until the request has begun
        connection.sendall(rest)
        assert status(connection) == 413
        assert not connection.recv(1)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("GET /v1/models/m?", 404),
        ("GET http://x/v1/models/m?", 404),
        ("POST /v1/models/m:predict?", 400),
        ("GET /monitoring/prometheus/metrics?", 400),
        ("GET /monitoring/prometheus/metrics?a=b", 400),
        ("GET /?", 200),
        ("GET http://x?", 200),
    ],
)
def test_a_query_without_content_is_a_part_of_the_name_too(
    edge: Callable[[], RestEdge], line: str, wanted: int
) -> None:
    with connected(edge().port, f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()) as connection:
        assert status(connection) == wanted


def test_chunks_of_one_byte_are_read(edge: Callable[[], RestEdge]) -> None:
    body = b'{"inputs": [' + b" " * 50_000 + b"[1, 2, 3]]}"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    with connected(edge().port, asking.CHUNKED + chunks + b"0\r\n\r\n") as connection:
        assert status(connection) == 200


def test_pipelined_requests_are_answered_in_order(edge: Callable[[], RestEdge]) -> None:
    wrong = asking.ASKING.replace(b"models/m", b"models/nope")
    last = asking.ASKING.replace(b"Host", b"Connection: close\r\nHost")
    assert re.findall(rb"HTTP/1.1 (\d+)", all_of(edge().port, asking.ASKING + wrong + last)) == [b"200", b"404", b"200"]


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -1",
        "Content-Length: 5 6",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: identity, chunked\r\nContent-Length: 5",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
    ],
)
def test_a_body_whose_end_is_ambiguous_smuggles_no_request(
    edge: Callable[[], RestEdge], head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in front may have read another end; what follows is then not a request of the same client."""
    monkeypatch.setattr(rest_replies, "DROP_SECONDS", 1.0)  # for the rest of a body that is too long
    request = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n".encode()
    answer = all_of(edge().port, request + asking.ASKING)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) in ([b"400"], [b"413"], [])


def test_under_load_the_end_answers_what_runs_and_cuts_no_answer(edge: Callable[[], RestEdge]) -> None:
    running = edge()
    load = asking.Load(f"http://127.0.0.1:{running.port}", b'{"inputs": [[1, 2, 3]]}')
    begin = time.monotonic()
    running.stop(20)
    assert time.monotonic() - begin < 20, "nothing waits for the end of the grace"
    load.end()
    assert load.wrong == []


def test_answers_are_sent_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        rest_connections.listen(listening)
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_the_fast_parts_are_used_where_they_are_installed() -> None:
    uvloop, httptools = pytest.importorskip("uvloop"), pytest.importorskip("httptools")
    assert rest_edge._loop_factory() is uvloop.new_event_loop
    assert httptools.HttpRequestParser
    assert rest_edge._protocol().__name__ == "LimitedHttpTools"
    assert issubclass(rest_edge._protocol(), asyncio.Protocol)
