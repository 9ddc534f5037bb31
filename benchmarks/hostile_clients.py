"""What an honest client waits while others misbehave, and whether the server has its resources back afterwards.

    python benchmarks/hostile_clients.py [--seconds N] [--attack NAME ...]

The honest client calls Predict over gRPC and REST every 10 ms. Each attack runs in a process of its own: first the
client alone, then with the attack, then the server's memory, descriptors and threads once the attack is over. The time
alone is taken anew for each attack, since other work on the machine changes it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np

from attnexport.serving.codec import ServedModel, encode_predict_request

BIN = Path(sys.executable).parent
PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
REST = "/v1/models/classifier:predict"
X = np.ones((1, 10, 64), np.float32)
REQUEST = encode_predict_request(ServedModel("classifier"), {"sequence": X})
BODY = json.dumps({"instances": X.tolist()}).encode()
_EVERY = 0.01  # seconds between the calls of the honest client
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # a connection and empty settings
_BACK_SECONDS = 30.0


def place(address: str) -> tuple[str, int]:
    """Host and port."""
    host, port = address.rsplit(":", 1)
    return host, int(port)


def connections(address: str, data: bytes, count: int = 200) -> list[socket.socket]:
    """Connections that send a few bytes and then nothing."""
    opened = [socket.create_connection(place(address)) for _ in range(count)]
    for each in opened:
        each.sendall(data)
    return opened


def half_open(rpc: str, rest: str) -> object:
    """200 connections to each edge that say nothing."""
    return connections(rpc, b""), connections(rest, b"")


def idle(rpc: str, rest: str) -> object:
    """200 connections to each edge that have said hello, and wait."""
    asking = b"GET /v1/models/classifier HTTP/1.1\r\nHost: x\r\n\r\n"
    return connections(rpc, _PREFACE), connections(rest, asking)


def slow_headers(rpc: str, rest: str) -> object:
    """200 REST connections that send a byte of their headers a second."""
    opened = connections(rest, b"POST /v1/models/classifier:predict HTTP/1.1\r\nx: ")

    def drip() -> None:
        while True:
            for each in opened:
                with contextlib.suppress(OSError):
                    each.sendall(b"y")
            time.sleep(1)

    threading.Thread(target=drip, daemon=True).start()
    return opened


def slow_bodies(rpc: str, rest: str) -> object:
    """200 REST connections whose bodies never end."""
    return connections(rest, b"POST /v1/models/classifier:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")


def channels(rpc: str, count: int) -> list[grpc.Channel]:
    """Channels that share no connection."""
    return [grpc.insecure_channel(rpc, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(count)]


def never() -> Iterator[bytes]:
    """A message that does not come."""
    threading.Event().wait()
    yield b""


def many_streams(rpc: str, rest: str) -> object:
    """400 calls over four connections that send no message, half of them to the status."""
    opened = channels(rpc, 4)
    calls = [opened[n % 4].stream_unary((PREDICT, STATUS)[n % 2]).future(never()) for n in range(400)]
    return opened, calls


def too_many_streams(rpc: str, rest: str) -> object:
    """1600 calls without a message, over eight connections: more than the server keeps."""
    opened = channels(rpc, 8)
    head = bytes([0x83, 0x86])  # POST, http
    for name, value in ((b":path", PREDICT.encode()), (b":authority", b"x"), (b"te", b"trailers"),
                        (b"content-type", b"application/grpc")):  # fmt: skip
        head += b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    frames = [struct.pack(">I", len(head))[1:] + b"\1\4" + struct.pack(">I", 2 * n + 1) + head for n in range(200)]
    return opened, connections(rpc, _PREFACE + b"".join(frames), 8)


def closed_loop(count: int, call: Callable[[int], object]) -> None:
    """Threads that call without a pause."""

    def ask(number: int) -> None:
        while True:
            with contextlib.suppress(grpc.RpcError):
                call(number)

    for number in range(count):
        threading.Thread(target=ask, args=(number,), daemon=True).start()


def cancelled(rpc: str, rest: str) -> object:
    """Four threads that call Predict and cancel it at once, 200 times a second in all."""
    [channel] = channels(rpc, 1)

    def call(_: int) -> None:
        channel.unary_unary(PREDICT).future(REQUEST).cancel()
        time.sleep(0.02)

    closed_loop(4, call)
    return channel


def deadlines(rpc: str, rest: str) -> object:
    """A burst of 20 calls with a deadline of 1 ms, ten times a second."""
    [channel] = channels(rpc, 1)

    def call(_: int) -> None:
        for each in [channel.unary_unary(PREDICT).future(REQUEST, timeout=0.001) for _ in range(20)]:
            each.exception()
        time.sleep(0.1)

    closed_loop(1, call)
    return channel


def many_clients(rpc: str, rest: str) -> object:
    """200 clients with a connection each, which call Predict once in two seconds."""
    opened = channels(rpc, 200)
    calls = [each.unary_unary(PREDICT) for each in opened]

    def call(_: int) -> None:
        for each in calls:
            each.future(REQUEST, timeout=60)
            time.sleep(0.01)

    closed_loop(1, call)
    return opened


ATTACKS: dict[str, Callable[[str, str], object]] = {
    each.__name__: each
    for each in (
        half_open, idle, slow_headers, slow_bodies, many_streams, too_many_streams, cancelled, deadlines, many_clients,
    )
}  # fmt: skip


class Honest:
    """A client that measures what it waits."""

    def __init__(self, rpc: str, rest: str) -> None:
        self._channel = grpc.insecure_channel(rpc)
        self._predict = self._channel.unary_unary(PREDICT)
        self._http = http.client.HTTPConnection(*place(rest), timeout=60)

    def measure(self, seconds: float) -> dict[str, tuple[float, float, float, int]]:
        """Median, 99th percentile and longest in ms by edge, and how many calls failed."""
        took: dict[str, list[float]] = {"gRPC": [], "REST": []}
        failed = dict.fromkeys(took, 0)
        until = time.monotonic() + seconds
        for name in itertools.cycle(took):
            begin = time.perf_counter()
            if time.monotonic() > until:
                break
            try:
                self._grpc() if name == "gRPC" else self._rest()
            except (grpc.RpcError, OSError, http.client.HTTPException):
                failed[name] += 1
            took[name].append(1000 * (time.perf_counter() - begin))
            time.sleep(_EVERY)
        return {
            name: (float(np.median(each)), float(np.percentile(each, 99)), max(each), failed[name])
            for name, each in took.items()
        }

    def _grpc(self) -> None:
        self._predict(REQUEST, timeout=60)

    def _rest(self) -> None:
        self._http.request("POST", REST, BODY)
        answer = self._http.getresponse()
        if answer.status != 200:
            raise OSError(answer.read())
        answer.read()


def resources(pid: int) -> dict[str, float]:
    """Memory in MB, descriptors and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "MB": int(status["VmRSS"].split()[0]) / 1000,
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
    }


def is_back(now: dict[str, float], before: dict[str, float]) -> bool:
    """Whether all is as it was; memory may keep a tenth, which is the allocator's."""
    return now["MB"] <= 1.1 * before["MB"] and all(now[name] <= before[name] + 2 for name in ("descriptors", "threads"))


def attacked(name: str, server: int, rpc: str, rest: str, seconds: float) -> bool:
    """Print what one attack does; whether it stays within bounds."""
    honest = Honest(rpc, rest)
    honest.measure(1.0)
    before, alone = resources(server), honest.measure(seconds)
    attack = subprocess.Popen(
        [sys.executable, __file__, "--run", name, rpc, rest], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        attack.stdout.readline()
        time.sleep(0.5)
        beside, most = honest.measure(seconds), resources(server)
    finally:
        attack.kill()
        attack.communicate()
    end = time.monotonic() + _BACK_SECONDS
    while not is_back(after := resources(server), before) and time.monotonic() < end:
        time.sleep(0.2)
    good = is_back(after, before)
    print(f"\n{name}: {' '.join(ATTACKS[name].__doc__.split())}")
    for edge, (median, last, longest, failed) in beside.items():
        ratio = last / alone[edge][1]
        good &= ratio <= 3 and not failed
        print(
            f"  {edge}: median {alone[edge][0]:.1f} to {median:.1f} ms, p99 {alone[edge][1]:.1f} to {last:.1f} ms, "
            f"{ratio:.1f} times [at most 3]; longest {alone[edge][2]:.0f} to {longest:.0f} ms; {failed} failed"
        )
    for kind in before:
        print(f"  {kind}: {before[kind]:.0f} before, {most[kind]:.0f} during, {after[kind]:.0f} after")
    return good


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[int, str, str]]:
    """A server of the default classifier: its process and addresses."""
    subprocess.run([str(BIN / "attnexport"), "savedmodel"], cwd=folder, check=True, capture_output=True)
    words = [str(BIN / "attnexport"), "serve", str(folder / "export" / "classifier")]
    words += ["--port=auto", "--rest_api_port=auto", "--json", "--quiet"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        document = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")
        yield server.pid, document["grpc"], document["rest"].removeprefix("http://")
    finally:
        server.terminate()
        server.communicate()


def main() -> None:
    """Run the attacks one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the honest client, alone and with each attack")
    parser.add_argument("--attack", action="append", choices=ATTACKS, help="repeatable; all by default")
    parser.add_argument("--run", nargs=3, metavar=("NAME", "GRPC", "REST"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        held = ATTACKS[options.run[0]](*options.run[1:])
        print(f"running, {type(held).__name__}", flush=True)
        sys.stdin.read()
        os._exit(0)
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as server:
        good = [attacked(name, *server, options.seconds) for name in options.attack or ATTACKS]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
