"""The REST edge as a server of HTTP: targets, methods, connections, escaped names, its end."""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import shlex
import socket
import threading
import urllib.request
from collections.abc import Callable
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from attnexport.core.errors import StorageError
from attnexport.serving.server import Server, ServerOptions, rest_edge
from tests.serving.rest_connections import (
    ASKING,
    BODY,
    ECHOED,
    STATUS,
    UNFINISHED,
    WHOLE,
    answered,
    connected,
    instant_model,
    serve,
)
from tests.waiting_model import WaitingModel


@pytest.fixture
def model() -> WaitingModel:
    return instant_model()


@pytest.fixture
def start(start_serving: Callable[..., Any], tmp_path: Path, model: WaitingModel) -> Callable[..., Any]:
    return partial(serve, start_serving, tmp_path, model)


def test_once_the_grace_is_over_all_are_told_so_and_nothing_is_printed(
    start: Callable[..., Any],
    model: WaitingModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = start(grace=0.2, threads=1)
    model.go.clear()
    with monkeypatch.context() as patched, contextlib.ExitStack() as stack:
        patched.setattr(logging.root, "handlers", [])  # Python prints what has no handler
        runs = stack.enter_context(connected(running, WHOLE))
        assert model.entered.acquire(timeout=60)
        others = [stack.enter_context(connected(running, data)) for data in (WHOLE, UNFINISHED % 10)]
        assert running.http(STATUS)[0] == 200, "so they have come"
        running.server.stop()
        for each in (runs, *others):
            assert answered(each)[:2] == (503, {"error": "the server ends"})
        model.go.set()
        for thread in threading.enumerate():
            if thread.name.startswith("rest_"):
                thread.join(60)
    assert capsys.readouterr().err == ""
    assert model.calls == 1


@pytest.mark.parametrize("name", ["team/x y", "a:b", "50%", "ä"])
def test_names_and_labels_are_unescaped_after_the_path_is_read(start: Callable[..., Any], name: str) -> None:
    running = start(name, labels={"now/or:later": 1})
    lines = map(unescape, re.findall(r">(curl [^<]*)<", running.http("/")[1]))
    url = urlparse(shlex.split(next(lines))[1])
    assert url.path.endswith(":predict")
    assert running.http(url.path, BODY) == ECHOED
    base = url.path.removesuffix(":predict")
    assert running.http(f"{base}/labels/now%2For%3Alater:predict", BODY) == ECHOED
    assert running.http(f"{base}/labels/NOW%2for%3alater:predict", BODY)[0] == 400
    assert running.http(base)[1]["model_version_status"][0]["state"] == "AVAILABLE"
    assert running.http(f"{base}/metadata")[1]["model_spec"]["name"] == name


def test_what_is_escaped_has_no_meaning_in_the_path(start: Callable[..., Any]) -> None:
    running = start()
    assert running.http("/v1/models/m%3Apredict", BODY)[0] == 400
    assert "m/metadata" in running.http("/v1/models/m%2Fmetadata")[1]["error"]


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("http://x/v1/models/m", (200, ["model_version_status"])),
        ("HTTP://127.0.0.1:8501/v1/models/m?a=1", (404, ["error"])),  # a query is a part of the model's name
    ],
)
def test_a_whole_url_is_a_target(start: Callable[..., Any], target: str, wanted: Any) -> None:
    with connected(start(), f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as connection:
        status, answer, _ = answered(connection)
        assert (status, list(answer)) == wanted


def test_the_page_and_the_metrics_have_whole_urls_as_well(start: Callable[..., Any]) -> None:
    running = start()
    for target, kind in (("http://x", "text/html"), ("http://x/monitoring/prometheus/metrics", "text/plain")):
        with connected(running, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) as connection:
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.headers.get_content_type()) == (200, kind)


def test_the_metrics_may_be_below_v1(start: Callable[..., Any]) -> None:
    running = start(metrics_path="/v1/metrics")
    status, text = running.http("/v1/metrics")
    assert (status, "request_count" in text) == (200, True)
    assert running.http("/v1/metrics", BODY)[0] == 400


@pytest.mark.parametrize("method", ["TRACE", "FOO", "get", "CONNECT"])
def test_unknown_methods_are_refused_in_html(start: Callable[..., Any], method: str) -> None:
    running = start()
    for path in ("/v1/models/m", "/", "/x"):
        status, answer = running.http(path, method=method)
        assert status == 501
        assert "<H1>Not Implemented</H1>" in answer


def test_other_methods_are_malformed_below_v1_and_find_nothing_elsewhere(start: Callable[..., Any]) -> None:
    running = start()
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        status, answer = running.http("/v1/models/m", method=method)
        assert (status, answer) == (400, {"error": f"Malformed request: {method} /v1/models/m"})
    for path in ("/", "/monitoring/prometheus/metrics", "/x", "/v2/models/m"):
        status, answer = running.http(path, method="POST")
        assert status == 404
        assert "<H1>Not Found</H1>" in answer
    assert "<H1>Bad Request</H1>" in running.http("/v1/models/m%zz")[1], "an escape that is none"


def test_preflight_requests_of_browsers_need_an_origin_and_cors_headers_the_option(start: Callable[..., Any]) -> None:
    running = start(cors=True)
    request = urllib.request.Request(
        f"{running.server.rest_address}/v1/models/m:predict", headers={"Origin": "http://a.b"}, method="OPTIONS"
    )
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, answer.read()) == (200, b"")
        assert answer.headers["Access-Control-Allow-Methods"] == "POST, GET"
    assert running.http("/v1/models/m:predict", method="OPTIONS")[0] == 400


def test_connections_are_kept_for_longer_than_others_keep_them(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rest_edge._IDLE_SECONDS > 90, "Go's client; load balancers have 60"
    monkeypatch.setattr(rest_edge, "_IDLE_SECONDS", 0.1)
    with connected(start(), ASKING) as connection:
        assert answered(connection)[2] is False
        assert connection.recv(1) == b""


def test_idle_connections_do_not_hold_up_the_end(start: Callable[..., Any]) -> None:
    running = start()
    with (
        connected(running, ASKING) as connection,
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
