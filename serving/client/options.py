"""How a client connects, waits and tries again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from attnexport.core.errors import ArgumentError, ContentError, check_size, one_of

from .plan import check_seconds

Compression = Literal["gzip", "deflate"]
_COMPRESSIONS = ("gzip", "deflate")
_HEADER = re.compile(r"[0-9a-z_.\-]+")
_SCHEMES = ("unix:", "dns:", "ipv4:", "ipv6:")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):(\d{1,5})")


@dataclass(frozen=True)
class Tls:
    """Certificates as PEM files.

    Attributes:
        ca: What the server's certificate must be signed by; the system's authorities where None.
        certificate: The client's own, for a server that asks for one; with `key`.
        key: Of the certificate.
        server_name: The name that the server's certificate must be for, where the address is another.
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
            ArgumentError: where a file does not exist.
            ContentError: where it cannot be read or is no PEM.
        """
        return _pem(self.ca), _pem(self.key), _pem(self.certificate)


@dataclass(frozen=True)
class Retry:
    """How a call that found no server is tried again, within its deadline; no other failure is.

    Attributes:
        attempts: The most rounds over all addresses; 1 is never again.
        first: The first pause in seconds; each is `factor` times the one before.
        most: The longest pause in seconds.
        factor: See first.
        jitter: The part of each pause that is left to chance, so that clients do not come back all at once.
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
            raise ArgumentError(f"a factor of at least 1 and a jitter from 0 to 1 are wanted; received {self}")

    def pause(self, attempt: int, chance: float) -> float:
        """Seconds to wait after the attempt of that number (from 1), for a chance from 0 to 1."""
        pause = min(self.most, self.first * self.factor ** min(attempt - 1, 64))
        return pause * (1 - self.jitter * chance)


@dataclass(frozen=True)
class ClientOptions:
    """What all calls of a client have in common.

    Attributes:
        model: The model that calls are for which name none.
        timeout: Seconds that a call may take, its retries included.
        connect_timeout: Seconds after which a connection that is not made counts as refused.
        retry: What happens when no server answers.
        tls: Certificates; a plain connection where None.
        metadata: Headers of every call.
        compression: Of requests, and asked for in replies.
        keepalive: Seconds of silence after which a connection is probed. Servers take more than one probe in 5 minutes
            for abuse, unless they are told otherwise.
        check: Compare inputs with the server's own signature before they are sent.
        max_batch: The most samples in one call; larger inputs are sent in parts.
        max_concurrent: Parts under way at once.
    """

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
                raise ArgumentError(f"header {key!r} holds {value!r}; text or bytes are wanted")
            if not _HEADER.fullmatch(key) or key.startswith("grpc-"):
                raise ArgumentError(f"header {key!r}: lower-case letters, digits, '_', '-' and '.' are wanted")
            if key.endswith("-bin") != isinstance(value, bytes):
                raise ArgumentError(f"header {key!r}: bytes go into names that end in '-bin', and text into others")
            if isinstance(value, str) and not (value.isascii() and value.isprintable()):
                raise ArgumentError(f"header {key!r} holds characters that no header can; printable ASCII is wanted")


def check_address(address: str) -> str:
    """The address itself where it is one, else an ArgumentError."""
    if not isinstance(address, str):
        raise ArgumentError(f"address {address!r} is not HOST:PORT, such as 127.0.0.1:8500")
    if address.startswith(_SCHEMES) and "://" not in address.removeprefix("dns://"):
        return address
    found = _ADDRESS.fullmatch(address)
    if not found or not 0 < int(found[2]) < 65536:
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
        raise ContentError(f"certificate file {path} is no PEM: a line with -----BEGIN is wanted")
    return content
