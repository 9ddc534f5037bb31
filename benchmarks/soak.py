"""Load on the embedded server while versions are swapped every second and clients are killed at random.

    python benchmarks/soak.py [--seconds N] [--seed N] [--saved-model DIR]

Prints the requests, the swaps, and the slope of the server's memory; ends with 1 where a request failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
import numpy as np

from attnexport.serving.codec import ServedModel, encode_predict_request

BIN = Path(sys.executable).parent
METHOD = "/tensorflow.serving.PredictionService/Predict"
CLIENTS = 3  # threads whose requests must not fail

# Asks without end, until it is killed in the middle of something.
VICTIM = """
import sys, grpc
data = open(sys.argv[2], "rb").read()
with grpc.insecure_channel(sys.argv[1]) as channel:
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    while True:
        waiting = [call.future(data, timeout=60) for _ in range(8)]
        [each.exception() for each in waiting]
"""


class Load:
    """Threads that ask, and count what they got."""

    def __init__(self, address: str, request: bytes) -> None:
        self.asked, self.failures, self.ended = 0, [], threading.Event()
        self._channel, self._lock = grpc.insecure_channel(address), threading.Lock()
        self._call, self._request = self._channel.unary_unary(METHOD), request
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self.ended.is_set():
            try:
                self._call(self._request, timeout=60)
            except grpc.RpcError as error:
                self.failures.append(f"{error.code().name}: {error.details()}")
            with self._lock:
                self.asked += 1

    def stop(self) -> None:
        """Let each thread end its last request."""
        self.ended.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()


def resident_mb(pid: int) -> float:
    """The memory of a process that is in RAM, in MB; NaN where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))


def serve(base: Path) -> tuple[subprocess.Popen[str], str]:
    """A server of the versions in a base path, ready, and its address."""
    words = [str(BIN / "attnexport"), "serve", f"--model_base_path={base}", "--port=auto", "--json", "--quiet"]
    words.append("--file_system_poll_wait_seconds=0.2")
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    lines = []
    for line in server.stdout:
        lines.append(line)
        if line == "}\n":
            break
    return server, json.loads("".join(lines))["grpc"]


def swap(base: Path, source: Path, version: int) -> None:
    """The next version appears whole, the one before the last is taken away."""
    shutil.copytree(source, base.parent / "arriving")
    os.rename(base.parent / "arriving", base / str(version))
    shutil.rmtree(base / str(version - 2), ignore_errors=True)


def exported(folder: Path) -> Path:
    """A SavedModel of the default classifier."""
    subprocess.run([str(BIN / "attnexport"), "savedmodel"], cwd=folder, check=True, capture_output=True)
    return folder / "export" / "classifier" / "saved_model" / "1"


def soak(folder: Path, source: Path, seconds: float, chance: random.Random) -> int:
    """Run it all; the number of failed requests."""
    base = folder / "served"
    base.mkdir()
    swap(base, source, 1)
    request = encode_predict_request(ServedModel("default"), {"sequence": np.ones((1, 10, 64), np.float32)})
    (folder / "request").write_bytes(request)
    server, address = serve(base)
    load, victims, version, killed = Load(address, request), [], 1, 0
    memory: list[tuple[float, float]] = []
    begin = time.monotonic()
    try:
        while (now := time.monotonic() - begin) < seconds:
            version += 1
            swap(base, source, version)
            memory.append((now, resident_mb(server.pid)))
            if len(victims) < 2:
                victims.append(subprocess.Popen([sys.executable, "-c", VICTIM, address, str(folder / "request")]))
            elif chance.random() < 0.5:
                victim = victims.pop(chance.randrange(len(victims)))
                victim.kill()
                victim.wait()
                killed += 1
            time.sleep(1)
    finally:
        load.stop()
        for victim in victims:
            victim.kill()
            victim.wait()
        server.terminate()
        server.communicate()
    print(f"{load.asked} requests, {len(load.failures)} failed; {version - 1} swaps, {killed} clients killed")
    for failure in load.failures[:5]:
        print(f"  {failure}")
    later = [each for each in memory if each[0] > seconds / 4]  # what is loaded once is loaded by then
    if len(later) > 2:
        slope = np.polyfit(*zip(*later, strict=True), 1)[0] * 60
        print(f"memory {later[0][1]:.0f} to {later[-1][1]:.0f} MB, slope {slope:+.2f} MB a minute")
    print(f"the server ended with {server.returncode}")
    return len(load.failures) + (server.returncode != 0)


def main() -> None:
    """Run it for as long as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--saved-model", type=Path, help="of the default classifier's input; exported where none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = options.saved_model or exported(Path(folder))
        sys.exit(bool(soak(Path(folder), source, options.seconds, random.Random(options.seed))))


if __name__ == "__main__":
    main()
