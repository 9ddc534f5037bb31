"""Which server and model a workflow queries, and how it connects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attnexport.core.errors import ArgumentError

if TYPE_CHECKING:
    from attnexport.serving import Client, Retry, Tls

DEFAULT_SERVER = "127.0.0.1:8500"  # where TF Serving and the embedded server listen by default


@dataclass(frozen=True)
class Connection:
    """A served model.

    Attributes:
        model: Name the model is served under.
        servers: gRPC addresses, `HOST:PORT`, of one server or of several that serve the same models; calls are spread
            over them.
        timeout: Seconds a call may take, retries included.
        tls: Connect with TLS. Any of the following turns it on as well.
        tls_ca: PEM file of the certificate authority to trust; the system's authorities by default.
        tls_certificate: PEM file of the client's own certificate, with `tls_key`.
        tls_key: PEM file of the private key of `tls_certificate`.
        tls_server_name: Name in the server's certificate, if it differs from the address.
        headers: Headers sent with every call.
        compression: Compression of requests and replies.

    Example:
        >>> Connection("classifier", "inference.example:8500", timeout=5).first_server
        'inference.example:8500'
    """

    model: str
    servers: str | Sequence[str] = DEFAULT_SERVER
    timeout: float = 30.0
    tls: bool = False
    tls_ca: str | Path | None = None
    tls_certificate: str | Path | None = None
    tls_key: str | Path | None = None
    tls_server_name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    compression: Literal["gzip", "deflate"] | None = None

    @property
    def first_server(self) -> str:
        """The address that progress and messages name."""
        return self.servers if isinstance(self.servers, str) else self.servers[0]

    def client(self, retry: Retry | None = None, *, needs_model: bool = True) -> Client:
        """A client of this model.

        Args:
            retry: How calls that find no server are retried; the client's default if None.
            needs_model: Refuse a connection that names no model.

        Raises:
            ArgumentError: for an empty name, an invalid address, time-out or header, or if a certificate file does not
                exist.
            ContentError: if a certificate cannot be read.
        """
        if not self.model and needs_model:
            raise ArgumentError("--server needs --model, the name that the model is served under")
        from attnexport.serving import Client, Retry

        return Client(
            self.servers,
            model=self.model or None,
            timeout=self.timeout,
            tls=self._tls(),
            metadata=self.headers,
            compression=self.compression,
            retry=retry or Retry(),
        )

    def _tls(self) -> Tls | None:
        from attnexport.serving import Tls

        files = (self.tls_ca, self.tls_certificate, self.tls_key, self.tls_server_name)
        if not self.tls and all(each is None for each in files):
            return None
        return Tls(self.tls_ca, self.tls_certificate, self.tls_key, self.tls_server_name)
