"""What tests of the REST edge ask it by: connections whose every byte a test chooses."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
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


class Load:
    """Clients that ask over kept connections, one after the other, until the server closes these.

    Attributes:
        answers: How many came, whole.
        wrong: Those that were not 200.
    """

    def __init__(self, url: str, body: bytes, path: str = PREDICT, clients: int = 6) -> None:
        self._place, self._path, self._body = urlparse(url).netloc, path, body
        self.answers = 0
        self.wrong: list[tuple[int, bytes]] = []
        self._came = threading.Semaphore(0)
        self._clients = [threading.Thread(target=self._ask) for _ in range(clients)]
        for client in self._clients:
            client.start()
        for _ in range(10 * clients):
            assert self._came.acquire(timeout=60)

    def _ask(self) -> None:
        with contextlib.closing(http.client.HTTPConnection(self._place, timeout=60)) as connection:
            while True:
                try:
                    connection.request("POST", self._path, self._body)
                    answer = connection.getresponse()
                except (ConnectionError, http.client.RemoteDisconnected):  # closed between two requests
                    return
                body = answer.read()  # raises if it is cut
                if answer.status != 200:
                    self.wrong.append((answer.status, body))
                self._came.release()

    def end(self) -> None:
        """Wait until all connections are closed."""
        for client in self._clients:
            client.join(60)
        assert not any(client.is_alive() for client in self._clients)
        while self._came.acquire(blocking=False):
            self.answers += 1
        self.answers += 10 * len(self._clients)
