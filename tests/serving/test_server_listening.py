"""What keeps gRPC from listening is said, which gRPC itself does not."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest

from attnexport.core.errors import StorageError
from attnexport.serving.server import GrpcOptions, Server, ServerOptions


def refusal(**options: Any) -> str:
    with pytest.raises(StorageError) as refused:
        Server(None, ServerOptions(rest_port=None, **{"port": 0, **options}))  # type: ignore[arg-type]
    return str(refused.value)


def test_a_port_that_is_taken(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "another server is there; give another port" in refusal(port=taken.getsockname()[1])


def test_a_host_that_there_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    said = refusal(host="nosuchhost.invalid")
    assert said.startswith("gRPC cannot listen on nosuchhost.invalid:0: ")
    assert "another server" not in said


def test_a_socket_in_a_directory_that_there_is_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "No such file or directory" in refusal(grpc=GrpcOptions(socket_path=str(tmp_path / "none" / "s")))


def test_a_certificate_that_is_none(capfd: pytest.CaptureFixture[str]) -> None:
    credentials = grpc.ssl_server_credentials([(b"no key", b"no certificate")])
    assert "not usable PEM" in refusal(grpc=GrpcOptions(credentials=credentials))
