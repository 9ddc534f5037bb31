"""TLS: certificates made here, right ones and wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from attnexport.core import UnavailableError
from attnexport.serving import Retry, Tls
from tests.certificates import DAY, NOW, Authority

X = {"x": np.ones((2, 3), "f")}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def serve(start_server: Callable[..., Any], authority: Authority) -> Callable[..., Any]:
    """Start a server with a key and certificate; with `ask`, one that wants a client's."""

    def start(key: Path, certificate: Path, ask: bool = False) -> Any:
        pair = (key.read_bytes(), certificate.read_bytes())
        roots = authority.ca.read_bytes() if ask else None
        return start_server(credentials=grpc.ssl_server_credentials([pair], roots, ask))

    return start


@pytest.fixture
def refusal(connect: Callable[..., Any]) -> Callable[..., str]:
    """What an UnavailableError says after the address."""

    def refused(address: str, **options: Any) -> str:
        with pytest.raises(UnavailableError) as caught:
            connect(address, retry=Retry(attempts=1), **options).predict(X)
        return str(caught.value).removeprefix(f"{address} is unavailable: ")

    return refused


def test_a_server_is_trusted_by_its_authority(serve: Any, connect: Any, authority: Authority) -> None:
    server = serve(*authority.issue("server"))
    assert connect(server.address, tls=Tls(ca=authority.ca)).predict(X).version == 3


def test_both_sides_show_certificates(serve: Any, connect: Any, refusal: Any, authority: Authority) -> None:
    server = serve(*authority.issue("server"), ask=True)
    key, certificate = authority.issue("client")
    tls = Tls(ca=str(authority.ca), certificate=certificate, key=key)
    assert connect(server.address, tls=tls).predict(X, max_batch=1)["y"].shape == (2, 3)
    assert "a client's certificate" in refusal(server.address, tls=Tls(ca=authority.ca))


def test_a_wrong_authority_is_refused(serve: Any, refusal: Any, authority: Authority, tmp_path: Path) -> None:
    server = serve(*authority.issue("server"))
    other = Authority(tmp_path, "other")
    for tls in (Tls(ca=other.ca), Tls()):
        assert refusal(server.address, tls=tls).startswith("its certificate is not trusted (")


def test_an_expired_certificate_is_refused(serve: Any, refusal: Any, authority: Authority) -> None:
    server = serve(*authority.issue("old", NOW - 3 * DAY, NOW - 2 * DAY))
    assert refusal(server.address, tls=Tls(ca=authority.ca)) == "its certificate has expired"
    server = serve(*authority.issue("new", NOW + 2 * DAY, NOW + 3 * DAY))
    assert refusal(server.address, tls=Tls(ca=authority.ca)) == "its certificate is not yet valid"


def test_a_certificate_for_another_name_needs_that_name(
    serve: Any, connect: Any, refusal: Any, authority: Authority
) -> None:
    server = serve(*authority.issue("server", host="models.example"))
    assert "for another name" in refusal(server.address, tls=Tls(ca=authority.ca))
    tls = Tls(ca=authority.ca, server_name="models.example")
    assert connect(server.address, tls=tls).predict(X).version == 3


def test_plain_and_tls_do_not_meet(serve: Any, refusal: Any, authority: Authority, server: Any) -> None:
    assert "it does not speak TLS; connect without" in refusal(server.address, tls=Tls(ca=authority.ca))
    assert "it may require TLS" in refusal(serve(*authority.issue("server")).address)
