"""One worker beside two: requests a second over REST and gRPC, and the memory of each worker.

    python benchmarks/workers.py [--seconds N]

The model halves numbers and adds two. The clients are threads of this process with 8 connections, one request in flight
on each. Both servers run at once and are asked in turn. The memory of each worker is printed as well, and that of
workers with a .tflite of 40 MB.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rest import MODEL, Served, request_to, throughput

import attnexport as ax

_ROUNDS, _IN_FLIGHT, _ASKED = 8, 8, 60
_TFLITE = """
import sys, numpy as np, tensorflow as tf
weights = np.random.default_rng(0).standard_normal((2500, 4000)).astype(np.float32)
dense = tf.function(lambda x: {"y": x @ weights}, [tf.TensorSpec((1, 2500), tf.float32, name="x")])
tf.saved_model.save(tf.Module(), sys.argv[1], signatures=dense)
open(sys.argv[1] + "/dense.tflite", "wb").write(tf.lite.TFLiteConverter.from_saved_model(sys.argv[1]).convert())
"""


@contextlib.contextmanager
def served(base: Path, workers: int) -> Iterator[Any]:
    """A server in processes of its own."""
    settings = ax.ServeSettings(model_base_path=str(base), model_name="half", workers=workers)
    with ax.serve(settings=settings, in_child=True) as server:
        yield server


def grpc_throughput(address: str, seconds: float) -> float:
    """Requests a second of threads that each have a connection."""
    counts, end = [0] * _IN_FLIGHT, time.perf_counter() + seconds

    def ask(place: int) -> None:
        with ax.Client(address, model="half") as client:
            while time.perf_counter() < end:
                client.predict({"x": np.array([1.0, 2.0, 5.0], np.float32)})
                counts[place] += 1

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(_IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def memory(pid: int) -> tuple[float, float]:
    """Megabytes that a process shares with none, and its share of all."""
    fields = dict(line.split()[:2] for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    private = int(fields["Private_Clean:"]) + int(fields["Private_Dirty:"])
    return private / 1e3, int(fields["Pss:"]) / 1e3


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each side, in all")
    seconds = parser.parse_args().seconds / _ROUNDS
    request = request_to("half", [1.0, 2.0, 5.0])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", MODEL, str(Path(folder) / "1")], check=True, capture_output=True)
        with served(Path(folder), 1) as one, served(Path(folder), 2) as two:
            ports = [int(each.rest_address.rpartition(":")[2]) for each in (one, two)]
            pid = two.pids[0]
            rest = [
                [throughput(Served(pid, port), request, _IN_FLIGHT, seconds)[0] for port in ports]
                for _ in range(_ROUNDS)
            ]
            over_grpc = [[grpc_throughput(each.grpc_address, seconds) for each in (one, two)] for _ in range(_ROUNDS)]
            for edge, pairs in (("REST", rest), ("gRPC", over_grpc)):
                rates = [median(each) for each in zip(*pairs, strict=True)]
                ratio = median(more / alone for alone, more in pairs)
                print(
                    f"{edge}, {_IN_FLIGHT} in flight: {rates[0]:.0f} and {rates[1]:.0f} requests/s, {ratio:.2f} times"
                )
            print_memory("SavedModel", two.pids)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", _TFLITE, folder], check=True, capture_output=True)
        with ax.serve(f"{folder}/dense.tflite", settings=ax.ServeSettings(workers=2), in_child=True) as server:
            for _ in range(_ASKED):  # a connection each, so that both workers answer
                with ax.Client(server.grpc_address, model="dense") as client:
                    client.predict({"x": np.ones((1, 2500), np.float32)})
            print_memory(".tflite of 40 MB", server.pids)


def print_memory(what: str, pids: list[int]) -> None:
    """Print the memory of each worker."""
    for number, pid in enumerate(pids, 1):
        private, share = memory(pid)
        print(f"{what}, worker {number}: {private:.0f} MB of its own, {share:.0f} MB with its part of what is shared")


if __name__ == "__main__":
    main()
