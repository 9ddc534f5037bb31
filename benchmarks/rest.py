"""REST beside a bare Starlette that answers the same bytes, at 1 and 8 in flight, as ratios of one run.

    python benchmarks/rest.py [--seconds N]

Both run under uvicorn with httptools and uvloop, in processes of their own; the client is this process, with sockets of
its own. Two requests are measured: three numbers to a model that halves them and adds two, and a sequence of 640
numbers to the default classifier. Beside the requests a second stands the processor time that each server took for one,
which other processes on the machine disturb less.
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
from typing import NamedTuple

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


class Served(NamedTuple):
    """A server: its process and its port."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """Processor time that it has taken, of all its threads."""
        return time.clock_gettime((~self.pid << 3) | 2)  # the clock of a process, as clock_getcpuclockid(3) makes it


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


def throughput(server: Served, request: bytes, in_flight: int, seconds: float) -> tuple[float, float]:
    """Requests a second, and the seconds of processor time of one."""
    count, waiting = 0, selectors.DefaultSelector()
    for _ in range(in_flight):
        connection = Connection(server.port, request)
        waiting.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send()
    begin, cpu = time.perf_counter(), server.cpu_seconds()
    while (elapsed := time.perf_counter() - begin) < seconds:
        for key, _ in waiting.select(1.0):
            if key.data.receive() is not None:
                count += 1
                key.data.send()
    cpu = server.cpu_seconds() - cpu
    for key in list(waiting.get_map().values()):
        key.data.socket.close()
    return count / elapsed, cpu / count


@contextlib.contextmanager
def ours(folder: Path) -> Iterator[Served]:
    """`attnexport serve` of both models."""
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
        yield Served(server.pid, int(document["rest"].rpartition(":")[2]))
    finally:
        server.terminate()
        server.communicate()


@contextlib.contextmanager
def bare(reply: bytes) -> Iterator[Served]:
    """A Starlette that answers any request with the same bytes."""
    server = subprocess.Popen(
        [sys.executable, "-c", BARE, str(len(reply))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        server.stdin.write(reply)
        server.stdin.flush()
        yield Served(server.pid, int(server.stdout.readline()))
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
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder)) as server:
        for model, request in requests.items():
            connection = Connection(server.port, request)
            connection.send()
            while (reply := connection.receive()) is None:
                pass
            connection.socket.close()
            with bare(reply) as other:
                for in_flight in (1, 8):
                    pairs = [
                        [throughput(each, request, in_flight, seconds / _ROUNDS) for each in (server, other)]
                        for _ in range(_ROUNDS)
                    ]
                    mine, others = (
                        [median(each) for each in zip(*side, strict=True)] for side in zip(*pairs, strict=True)
                    )
                    ratio = median(one[0] / another[0] for one, another in pairs)
                    print(
                        f"{model}, {in_flight} in flight: {mine[0]:.0f} and {others[0]:.0f} requests/s, "
                        f"{ratio:.2f} of Starlette   [at least 0.7]; "
                        f"{mine[1] * 1e6:.0f} and {others[1] * 1e6:.0f} us of processor time for one"
                    )


if __name__ == "__main__":
    main()
