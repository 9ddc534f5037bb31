"""REST beside a bare Starlette that answers the same bytes, at 1 and 8 in flight, as ratios of one run.

    python benchmarks/rest.py [--seconds N]

Both run under uvicorn with httptools and uvloop, in processes of their own; the client is this process, with sockets of
its own. Two requests are measured: three numbers to a model that halves them and adds two, and a sequence of 640
numbers to the default classifier.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np

BIN = Path(sys.executable).parent
_ROUNDS = 12

BARE = """
import sys, socket, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
reply = sys.stdin.buffer.read(int(sys.argv[1]))
async def answer(request):
    await request.body()
    return Response(reply, media_type="application/json")
app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
listening = socket.create_server(("127.0.0.1", 0))
listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(listening.getsockname()[1], flush=True)
options = dict(log_config=None, access_log=False, lifespan="off", ws="none")
config = uvicorn.Config(app, http="httptools", loop="uvloop", **options)
uvicorn.Server(config).run([listening])
"""

# A model of one operator more than none.
MODEL = """
import sys, tensorflow as tf
module = tf.Module()
function = tf.function(lambda x: {"y": x / 2.0 + 2.0}).get_concrete_function(x=tf.TensorSpec([None], tf.float32, "x"))
tf.saved_model.save(module, sys.argv[1], signatures={"serving_default": function})
"""


class Connection:
    """A kept connection with one request in flight."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request, self._answer, self._size = request, b"", 0

    def send(self) -> None:
        """Ask once."""
        self._answer, self._size = b"", 0
        self.socket.sendall(self._request)

    def receive(self) -> bytes | None:
        """The body, once all of it is here."""
        self._answer += self.socket.recv(1 << 16)
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if end and not self._size:
            if b" 200 " not in head[:20]:
                raise OSError(self._answer)
            self._size = int(head.lower().partition(b"content-length:")[2].split()[0])
        return body if end and len(body) >= self._size else None


def throughput(port: int, request: bytes, in_flight: int, seconds: float) -> float:
    """Requests a second."""
    count, waiting = 0, selectors.DefaultSelector()
    for _ in range(in_flight):
        connection = Connection(port, request)
        waiting.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send()
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        for key, _ in waiting.select(1.0):
            if key.data.receive() is not None:
                count += 1
                key.data.send()
    for key in list(waiting.get_map().values()):
        key.data.socket.close()
    return count / elapsed


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[int]:
    """`attnexport serve` of both models; its port."""
    run([str(BIN / "attnexport"), "savedmodel"], folder)
    run([sys.executable, "-c", MODEL, str(folder / "half" / "1")], folder)
    models = {"half": folder / "half", "classifier": folder / "export" / "classifier" / "saved_model"}
    entries = [
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}' for name, base in models.items()
    ]
    (folder / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}")
    words = [str(BIN / "attnexport"), "serve", f"--model_config_file={folder / 'models.config'}", "--port=auto"]
    words += ["--rest_api_port=auto", "--json", "--quiet"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        document = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")
        yield int(document["rest"].rpartition(":")[2])
    finally:
        server.terminate()
        server.communicate()


@contextlib.contextmanager
def bare(reply: bytes) -> Iterator[int]:
    """A Starlette that answers any request with the same bytes; its port."""
    server = subprocess.Popen(
        [sys.executable, "-c", BARE, str(len(reply))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        server.stdin.write(reply)
        server.stdin.flush()
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        server.communicate()


def run(words: list[str], folder: Path) -> None:
    """A command that must succeed."""
    subprocess.run(words, cwd=folder, check=True, capture_output=True)


def request_to(model: str, instances: object) -> bytes:
    """A request in rows."""
    body = json.dumps({"instances": instances}).encode()
    head = f"POST /v1/models/{model}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each side, in all")
    seconds = parser.parse_args().seconds
    sequence = np.random.default_rng(0).normal(size=(1, 10, 64)).astype(np.float32)
    requests = {"half": request_to("half", [1.0, 2.0, 5.0]), "classifier": request_to("classifier", sequence.tolist())}
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder)) as port:
        for model, request in requests.items():
            connection = Connection(port, request)
            connection.send()
            while (reply := connection.receive()) is None:
                pass
            connection.socket.close()
            with bare(reply) as other:
                for in_flight in (1, 8):
                    pairs = [
                        [throughput(each, request, in_flight, seconds / _ROUNDS) for each in (port, other)]
                        for _ in range(_ROUNDS)
                    ]
                    rates = [median(each) for each in zip(*pairs, strict=True)]
                    ratio = median(one / another for one, another in pairs)
                    print(
                        f"{model}, {in_flight} in flight: {rates[0]:.0f} and {rates[1]:.0f} requests/s, "
                        f"{ratio:.2f} of Starlette   [at least 0.7]"
                    )


if __name__ == "__main__":
    main()
