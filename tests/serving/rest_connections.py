"""What tests of the REST edge ask it by: connections whose every byte a test chooses."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from attnexport.serving.server import ModelConfig, RestOptions
from tests.waiting_model import WaitingModel

PREDICT, STATUS = "/v1/models/m:predict", "/v1/models/m"
BODY = {"inputs": [1.0, 2.0]}
ECHOED = (200, {"outputs": [1.0, 2.0]})
ASKING = b"GET /v1/models/m HTTP/1.1\r\nHost: x\r\n\r\n"
UNFINISHED = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
WHOLE = UNFINISHED % len(json.dumps(BODY)) + json.dumps(BODY).encode()
CHUNKED = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def instant_model() -> WaitingModel:
    """One that answers at once."""
    model = WaitingModel((None,))
    model.go.set()
    return model


def serve(
    start_serving: Callable[..., Any],
    base: Path,
    model: WaitingModel,
    name: str = "m",
    labels: dict[str, int] | None = None,
    grace: float = 10.0,
    **options: Any,
) -> Any:
    """Serve the model under a name, with options of REST."""
    (base / "1").mkdir()
    config = ModelConfig(name, base, labels=labels or {})
    return start_serving(
        [config], loader=model, rest=RestOptions(**options), grace_seconds=grace, allow_unavailable_labels=True
    )


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
