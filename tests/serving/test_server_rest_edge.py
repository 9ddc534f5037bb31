"""The REST edge as a server of HTTP: bodies that do not end, targets, methods, connections, escaped names."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import shlex
import socket
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from attnexport.core.errors import StorageError
from attnexport.serving.server import ModelConfig, RestOptions, Server, ServerOptions, StatusError, rest_edge
from attnexport.serving.server.rest_api import RestApi, unpack
from tests.waiting_model import WaitingModel

PREDICT = "/v1/models/m:predict"
UNFINISHED = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
BODY = {"inputs": [1.0, 2.0]}
ECHOED = (200, {"outputs": [1.0, 2.0]})


@pytest.fixture
def model() -> WaitingModel:
    """One that answers at once."""
    found = WaitingModel((None,))
    found.go.set()
    return found


@pytest.fixture
def start(start_serving: Callable[..., Any], tmp_path: Path, model: WaitingModel) -> Callable[..., Any]:
    """Serve the model under a name, with options of REST."""

    def serve(name: str = "m", labels: dict[str, int] | None = None, **options: Any) -> Any:
        (tmp_path / "1").mkdir()
        config = ModelConfig(name, tmp_path, labels=labels or {})
        return start_serving([config], loader=model, rest=RestOptions(**options))

    return serve


@contextlib.contextmanager
def connected(running: Any, data: bytes = b"") -> Iterator[socket.socket]:
    place = urlparse(running.server.rest_address)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(data)
        yield connection


def answered(connection: socket.socket) -> tuple[int, Any, bool]:
    """Status and JSON of the next answer, and whether the connection ends with it."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, json.loads(answer.read()), answer.will_close


def test_bodies_that_do_not_end_lock_nobody_out_and_end_in_408(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_edge, "_MOST_WAITING", 2)
    running = start(timeout=2.0)
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
    monkeypatch.setattr(rest_edge, "_BODY_SECONDS", 0.2)
    running = start(timeout=0)
    assert running.http(PREDICT, BODY) == ECHOED
    with connected(running, UNFINISHED % 10) as half:
        assert answered(half)[0] == 408


def test_so_many_requests_may_wait_whether_or_not_their_clients_still_do(
    start: Callable[..., Any], model: WaitingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_edge, "_MOST_WAITING", 2)
    running = start(threads=1, timeout=1.0)
    model.go.clear()
    assert running.http(PREDICT, BODY)[0] == 504  # it runs on
    assert running.http(PREDICT, BODY)[0] == 504  # it waits for the thread, with its body
    assert running.http(PREDICT, BODY)[0] == 429
    model.go.set()
    while running.http(PREDICT, BODY)[0] == 429:
        pass
    assert model.calls == 2


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(start: Callable[..., Any]) -> None:
    running = start(largest_body=100)
    with connected(running, UNFINISHED % 101) as connection:
        status, answer, closes = answered(connection)
        assert (status, list(answer), closes) == (413, ["error"], True)
    assert running.http(PREDICT, bytes(20_000_000))[0] == 413, "this client sends all before it reads"
    with connected(
        running, b"POST /v1/models/m:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n"
    ) as connection:
        connection.sendall(b"80\r\n" + bytes(128) + b"\r\n")
        assert answered(connection)[0] == 413


def test_large_bodies_that_are_read_are_limited_together_and_small_ones_pass(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_edge, "_MOST_HELD", 1)
    running = start(largest_body=300_000)
    large = json.dumps(BODY).encode().ljust(200_000)
    assert running.http(PREDICT, large) == ECHOED
    with connected(running, UNFINISHED % len(large) + large[:-1]) as half:
        while running.http(PREDICT, large)[0] == 200:  # until the server has read that half
            pass
        assert running.http(PREDICT, large)[0] == 429
        assert running.http(PREDICT, BODY) == ECHOED
        half.sendall(large[-1:])
        assert answered(half)[:2] == ECHOED
    assert running.http(PREDICT, large) == ECHOED
    with connected(running, UNFINISHED % len(large) + large[:-1]):
        pass
    while running.http(PREDICT, large)[0] == 429:  # until it is seen that this client has gone
        pass


def test_what_nobody_waits_for_after_its_json_was_read_is_not_run(
    start: Callable[..., Any], model: WaitingModel
) -> None:
    api = RestApi(start().server.plane, lambda *_: None, 1000)
    assert api.respond("POST", PREDICT, json.dumps(BODY).encode(), iter([True, False]).__next__).status == 504
    assert model.calls == 0


def test_members_of_gzip_are_joined_within_the_limit(start: Callable[..., Any]) -> None:
    body, packed = json.dumps(BODY).encode(), {"Content-Encoding": "gzip"}
    running = start(largest_body=200)
    halves = gzip.compress(body[:9]) + gzip.compress(b"") + gzip.compress(body[9:])
    assert running.http(PREDICT, halves, packed) == ECHOED
    assert running.http(PREDICT, halves + gzip.compress(b" " * 200), packed)[0] == 413
    for behind in (b"\0", b"\0" * 100, b"\x1f", gzip.compress(b" ")[:-1]):
        assert running.http(PREDICT, halves + behind, packed)[0] == 400


def test_many_members_and_much_behind_them_cost_no_more_than_their_length() -> None:
    assert unpack(gzip.compress(b"") * 200_000 + gzip.compress(b"{}"), 2) == b"{}"
    with pytest.raises(StatusError):
        unpack(gzip.compress(b"{}") + bytes(64 << 20), 128 << 20)


@pytest.mark.parametrize("name", ["team/x y", "a:b", "50%", "ä"])
def test_names_and_labels_are_unescaped_after_the_path_is_read(start: Callable[..., Any], name: str) -> None:
    running = start(name, labels={"now/or:later": 1})
    [line] = [unescape(line) for line in running.http("/")[1].split("<pre>") if line.startswith("curl")]
    url = urlparse(shlex.split(line.partition("</pre>")[0])[1])
    assert url.path.endswith(":predict")
    assert running.http(url.path, BODY) == ECHOED
    base = url.path.removesuffix(":predict")
    assert running.http(f"{base}/labels/now%2For%3Alater:predict", BODY) == ECHOED
    assert running.http(f"{base}/labels/NOW%2for%3alater")[0] == 400
    assert running.http(base)[1]["model_version_status"][0]["state"] == "AVAILABLE"
    assert running.http(f"{base}/metadata")[1]["model_spec"]["name"] == name


def test_what_is_escaped_has_no_meaning_in_the_path(start: Callable[..., Any]) -> None:
    running = start()
    assert running.http("/v1/models/m%3Apredict", BODY)[0] == 400
    assert "m/metadata" in running.http("/v1/models/m%2Fmetadata")[1]["error"]


@pytest.mark.parametrize("target", ["http://x/v1/models/m", "HTTP://127.0.0.1:8501/v1/models/m?a=1"])
def test_a_whole_url_is_a_target(start: Callable[..., Any], target: str) -> None:
    with connected(start(), f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as connection:
        status, answer, _ = answered(connection)
        assert (status, list(answer)) == (200, ["model_version_status"])


def test_the_page_and_the_metrics_have_whole_urls_as_well(start: Callable[..., Any]) -> None:
    running = start()
    for target, kind in (("http://x", "text/html"), ("http://x/monitoring/prometheus/metrics", "text/plain")):
        with connected(running, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as connection:
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.headers.get_content_type()) == (200, kind)


@pytest.mark.parametrize("method", ["TRACE", "FOO", "get", "POST", "CONNECT"])
def test_methods_that_there_are_not_are_refused_in_json(start: Callable[..., Any], method: str) -> None:
    running = start()
    for path, code in (("/v1/models/m", 400), ("/", 404), ("/monitoring/prometheus/metrics", 404), ("/x", 404)):
        status, answer = running.http(path, method=method)
        assert (status, list(answer)) == (code, ["error"])


def test_connections_are_kept_for_longer_than_others_keep_them(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rest_edge._IDLE_SECONDS > 90, "Go's client; load balancers have 60"
    monkeypatch.setattr(rest_edge, "_IDLE_SECONDS", 0.1)
    with connected(start(), b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        assert answered(connection)[2] is False
        assert connection.recv(1) == b""


def test_idle_connections_do_not_hold_up_the_end(start: Callable[..., Any]) -> None:
    running = start()
    with (
        connected(running, b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n") as connection,
        connected(running) as silent,
    ):
        assert answered(connection)[0] == 200
        running.stop()
        assert (connection.recv(1), silent.recv(1)) == (b"", b"")


def refusal(host: str, port: int = 0) -> str:
    with pytest.raises(StorageError) as refused:
        Server(WaitingModel(), ServerOptions(host=host, port=None, rest_port=port))
    return str(refused.value)


def test_why_a_port_cannot_be_listened_on_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "another server is there" in refusal("127.0.0.1", taken.getsockname()[1])
    for host, words in (("nosuchhost.invalid", "not known"), ("192.0.2.1", "Cannot assign requested address")):
        said = refusal(host)
        assert said.startswith(f"REST cannot listen on {host}:0: ")
        assert "another server" not in said
        if host[0] != "n":  # what a resolver says differs from system to system
            assert words in said
