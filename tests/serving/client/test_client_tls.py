"""TLS: certificates made here, right ones and wrong ones."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attnexport.core import UnavailableError
from attnexport.serving import Retry, Tls

X = {"x": np.ones((2, 3), "f")}
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority of its own, that writes PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._signed(name, self._key.public_key(), NOW - DAY, NOW + DAY, ca=True)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, start: datetime.datetime = NOW - DAY, end: datetime.datetime = NOW + DAY, host: str = ""
    ) -> tuple[Path, Path]:
        """A key and a certificate for 127.0.0.1, or for a host's name."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(name, key.public_key(), start, end, host=host)
        paths = self._folder / f"{name}.key", self._folder / f"{name}.crt"
        paths[0].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        paths[1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return paths

    def _signed(
        self, name: str, key: Any, start: datetime.datetime, end: datetime.datetime, ca: bool = False, host: str = ""
    ) -> x509.Certificate:
        names = [x509.DNSName(host)] if host else [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )


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
    assert "it may want TLS" in refusal(serve(*authority.issue("server")).address)
