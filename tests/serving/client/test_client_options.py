"""What a client is made of: options, addresses, turns and pauses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnexport.core import ArgumentError, ContentError
from attnexport.serving import AsyncClient, Client, Retry, Tls
from attnexport.serving.client.balancer import Balancer


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metadata": {"Bad": "x"}}, "header 'Bad': names have lower-case letters"),
        ({"metadata": {"a": 3}}, "header 'a' holds 3"),
        ({"retry": 3}, "retry must be a Retry; received 3"),
        ({"tls": "ca.pem"}, "tls must be a Tls"),
        ({"metadata": {"a": "é"}}, "printable ASCII"),
        ({"metadata": {"a-bin": "x"}}, "bytes go into names that end in '-bin'"),
        ({"compression": "zip"}, "compression 'zip' is not 'gzip' or 'deflate'"),
        ({"timeout": -1}, "timeout must be a number of seconds above 0; received -1"),
        ({"keepalive": float("nan")}, "keepalive must be"),
        ({"max_concurrent": 0}, "max_concurrent must be a whole number of at least 1"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options: dict[str, Any], words: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ArgumentError, match=words):
            kind("127.0.0.1:8500", **options)


@pytest.mark.parametrize(
    "address", ["localhost", "http://localhost:8500", "", "a b:1", "h:0", "h:70000", "::1:80", [], [None]]
)
def test_addresses_that_are_none_are_refused(address: Any) -> None:
    with pytest.raises(ArgumentError, match="HOST:PORT"):
        Client(address)


@pytest.mark.parametrize("address", ["h:1", "127.0.0.1:8500", "[::1]:8500", "unix:/tmp/x", "dns:///name:80"])
def test_addresses_that_are_some_are_taken(address: str) -> None:
    Client(address).close()


def test_certificates_are_read_when_the_client_is_made(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("hello")
    for tls, kind, words in (
        ({"ca": tmp_path / "none.pem"}, ArgumentError, "none.pem does not exist"),
        ({"ca": tmp_path / "no.pem"}, ContentError, "is not PEM: it has no line with -----BEGIN"),
        ({"ca": tmp_path}, ContentError, "cannot be read"),
        ({"key": "x"}, ArgumentError, "a client's certificate and its key go together"),
    ):
        with pytest.raises(kind, match=words):
            Client("127.0.0.1:8500", tls=Tls(**tls))


def test_addresses_take_turns_and_one_that_failed_rests() -> None:
    now = [0.0]
    balancer = Balancer(["a", "b", "c"], clock=lambda: now[0])
    assert [balancer.pick() for _ in range(4)] == [0, 1, 2, 0]
    balancer.failed(1)
    assert 1 not in [balancer.pick() for _ in range(9)]
    assert balancer.pick(tried={0, 2}) == 1, "resting is better than nothing"
    now[0] = 10.0
    assert 1 in [balancer.pick() for _ in range(3)]
    for index in range(3):
        balancer.failed(index)
    assert sorted(balancer.pick() for _ in range(3)) == [0, 1, 2]
    balancer.answered(2)
    assert {balancer.pick() for _ in range(3)} == {2}


def test_pauses_grow_to_their_limit_with_a_part_left_to_chance() -> None:
    retry = Retry(first=0.1, factor=2, most=0.5, jitter=0.4)
    assert [retry.pause(attempt, 0.0) for attempt in (1, 2, 3, 4, 1000)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert retry.pause(1, 1.0) == pytest.approx(0.06)
    for wrong in ({"attempts": 0}, {"first": 0}, {"most": -1}, {"factor": 0.5}, {"jitter": 2}):
        with pytest.raises(ArgumentError):
            Retry(**wrong)


def test_a_call_that_an_ending_server_reset_without_a_word_is_asked_elsewhere() -> None:
    """gRPC's Python server does so with calls that arrive while it stops; one that says why is taken at its word."""
    import grpc

    from attnexport.core import ServingError, UnavailableError
    from attnexport.serving.client.grpc_status import translate

    for words in (None, "", "CANCELLED"):
        assert type(translate(grpc.StatusCode.CANCELLED, words, "a:1", 1)) is UnavailableError
    assert type(translate(grpc.StatusCode.CANCELLED, "the model was taken away", "a:1", 1)) is ServingError


@pytest.mark.parametrize("address", ["unix:/tmp/s.sock", "unix:///tmp/s.sock", "unix:relative.sock"])
def test_unix_sockets_in_both_forms(address: str, tmp_path: Path) -> None:
    Client(address).close()


PROXY = {"http_proxy": "http://user:secret@127.0.0.1:9"}


def test_proxies_are_told_apart_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnexport.serving.client.proxy import Proxy, is_loopback, proxy_of

    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_of("models.example:8500") is None
    for name, value in PROXY.items():
        monkeypatch.setenv(name, value)
    for address in (
        "127.0.0.1:1", "127.8.9.10:1", "[::1]:1", "localhost:1", "unix:///tmp/s", "dns:///localhost:1", "ipv6:[::1]:1",
    ):  # fmt: skip
        assert is_loopback(address)
        assert proxy_of(address) is None
    assert proxy_of("dns:///models.example:8500") == Proxy("127.0.0.1:9", "http_proxy", "models.example")
    monkeypatch.setenv("grpc_proxy", "10.0.0.1:3128")
    assert proxy_of("10.1.2.3:8500") == Proxy("10.0.0.1:3128", "grpc_proxy", "10.1.2.3")
    monkeypatch.setenv("no_proxy", "internal, .example")
    assert proxy_of("models.example:8500") is None


def test_a_busy_server_is_unavailable_and_a_message_too_large_is_not() -> None:
    import grpc

    from attnexport.core import ServingError, UnavailableError
    from attnexport.serving.client.grpc_status import translate

    for words in ("Server Threadpool Exhausted", "Concurrent RPC limit exceeded!"):
        error = translate(grpc.StatusCode.RESOURCE_EXHAUSTED, words, "a:1", 1)
        assert type(error) is UnavailableError
        assert str(error) == f"a:1 is unavailable: all its threads are busy ({words})"
    large = translate(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", "a:1", 1)
    assert type(large) is ServingError
