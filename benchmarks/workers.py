"""One worker beside two: requests a second over REST and gRPC, and the memory of each worker.

    python benchmarks/workers.py [--seconds N]

The model halves numbers and adds two. The clients are threads of this process with 8 connections, one request in flight
on each. Both servers run at once and are asked in turn.
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

_ROUNDS, _IN_FLIGHT = 8, 8


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
            for number, each in enumerate(two.pids, 1):
                private, share = memory(each)
                print(f"worker {number}: {private:.0f} MB of its own, {share:.0f} MB with its part of what is shared")


if __name__ == "__main__":
    main()
