"""How a client connects, waits and tries again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

from attnexport.core.errors import ArgumentError, ContentError, check_size, one_of

from .plan import check_seconds

Compression = Literal["gzip", "deflate"]
_COMPRESSIONS = ("gzip", "deflate")
_HEADER = re.compile(r"[0-9a-z_.\-]+")
_SCHEMES = ("unix:", "dns:", "ipv4:", "ipv6:")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(\d{1,5})")


@dataclass(frozen=True)
class Tls:
    """Certificates, as PEM files.

    Attributes:
        ca: The authorities that may have signed the server's certificate; the system's if None.
        certificate: The client's own, for a server that asks for one; with `key`.
        key: The key of `certificate`.
        server_name: The name in the server's certificate, if it is not the address's.

    Raises:
        ArgumentError: for a certificate without a key, or a key without a certificate.

    Example:
        >>> Tls(ca="server.crt", server_name="models.example").server_name
        'models.example'
    """

    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ArgumentError("a client's certificate and its key go together; one of them is missing")

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The contents of ca, key and certificate.

        Raises:
            ArgumentError: if a file does not exist.
            ContentError: if a file cannot be read or is not PEM.
        """
        return _pem(self.ca), _pem(self.key), _pem(self.certificate)


@dataclass(frozen=True)
class Retry:
    """How calls that no server answers are tried again, within their deadline. Other failures are not.

    Attributes:
        attempts: The most rounds over all addresses; 1 never retries.
        first: The first pause in seconds.
        most: The longest pause in seconds.
        factor: How many times as long as the one before each pause is.
        jitter: The part of each pause that is random, so that clients do not come back all at once.

    Example:
        >>> retry = Retry(first=0.1, factor=2, most=0.3)
        >>> [retry.pause(attempt, 0.0) for attempt in (1, 2, 3)]
        [0.1, 0.2, 0.3]
    """

    attempts: int = 5
    first: float = 0.1
    most: float = 2.0
    factor: float = 2.0
    jitter: float = 0.4

    def __post_init__(self) -> None:
        check_size("attempts", self.attempts)
        check_seconds("first", self.first)
        check_seconds("most", self.most)
        if self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ArgumentError(f"factor must be at least 1 and jitter from 0 to 1; received {self}")

    def pause(self, attempt: int, chance: float) -> float:
        """Seconds to wait after the attempt of that number (from 1), for a chance from 0 to 1."""
        pause = min(self.most, self.first * self.factor ** min(attempt - 1, 64))
        return pause * (1 - self.jitter * chance)


class ConnectionOptions(TypedDict):
    """The options that gRPC's transports take."""

    tls: Tls | None
    connect_timeout: float
    keepalive: float
    compression: Compression | None


@dataclass(frozen=True)
class ClientOptions:
    """The options of a client; `Client` describes them."""

    model: str | None = None
    timeout: float = 30.0
    connect_timeout: float = 5.0
    retry: Retry = field(default_factory=Retry)
    tls: Tls | None = None
    metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    compression: Compression | None = None
    keepalive: float = 300.0
    check: bool = False
    max_batch: int | None = None
    max_concurrent: int = 4

    def __post_init__(self) -> None:
        for name in ("timeout", "connect_timeout", "keepalive"):
            check_seconds(name, getattr(self, name))
        check_size("max_concurrent", self.max_concurrent)
        if self.max_batch is not None:
            check_size("max_batch", self.max_batch)
        if self.compression not in (None, *_COMPRESSIONS):
            raise ArgumentError(f"compression {self.compression!r} is not {one_of(_COMPRESSIONS)}")
        for name, option, kind in (("retry", self.retry, Retry), ("tls", self.tls, Tls | None)):
            if not isinstance(option, kind):
                raise ArgumentError(f"{name} must be a {name.title()}; received {option!r}")
        for key, value in self.metadata.items():
            if not isinstance(value, str | bytes):
                raise ArgumentError(f"header {key!r} holds {value!r}; give text or bytes")
            if not _HEADER.fullmatch(key) or key.startswith("grpc-"):
                raise ArgumentError(
                    f"header {key!r}: names have lower-case letters, digits, '_', '-' and '.', no 'grpc-'"
                )
            if key.endswith("-bin") != isinstance(value, bytes):
                raise ArgumentError(f"header {key!r}: bytes go into names that end in '-bin', text into others")
            if isinstance(value, str) and not (value.isascii() and value.isprintable()):
                raise ArgumentError(f"header {key!r} holds characters other than printable ASCII")

    def of_connections(self) -> ConnectionOptions:
        """Those that gRPC's transports take."""
        return {
            "tls": self.tls,
            "connect_timeout": self.connect_timeout,
            "keepalive": self.keepalive,
            "compression": self.compression,
        }


def check_addresses(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """The addresses of a client.

    Raises:
        ArgumentError: for something that is not an address, or no address at all.
    """
    given = [addresses] if isinstance(addresses, str) else list(addresses)
    if not given:
        raise ArgumentError("a client needs the address of a server, HOST:PORT")
    return tuple(_check_address(address) for address in given)


def _check_address(address: str) -> str:
    if not isinstance(address, str):
        raise ArgumentError(f"address {address!r} is not HOST:PORT, such as 127.0.0.1:8500")
    if address.startswith(_SCHEMES) and "://" not in address.removeprefix("dns://").removeprefix("unix://"):
        return address
    match = _ADDRESS.fullmatch(address)
    if not match or not 0 < int(match[2]) < 65536:
        raise ArgumentError(f"address {address!r} is not HOST:PORT, such as 127.0.0.1:8500 or [::1]:8500")
    return address


def _pem(path: Path | str | None) -> bytes | None:
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ArgumentError(f"certificate file {path} does not exist") from error
    except OSError as error:
        raise ContentError(f"certificate file {path} cannot be read: {error.strerror}") from error
    if b"-----BEGIN" not in content:
        raise ContentError(f"certificate file {path} is not PEM: it has no line with -----BEGIN")
    return content
