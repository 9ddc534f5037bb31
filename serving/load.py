"""Load on a server: callers that each wait for an answer before they ask again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from attnexport.core.errors import ServingError


@dataclass(frozen=True)
class LoadLevel:
    """What one number of callers got.

    Attributes:
        concurrency: Callers at once.
        requests: Answers.
        seconds: That it took.
        p50: Latency in ms that half of the answers took at most; p90 and p99 likewise.
        p90: See p50.
        p99: See p50.
        failures: Calls without an answer, by the kind of their error.
    """

    concurrency: int
    requests: int
    seconds: float
    p50: float
    p90: float
    p99: float
    failures: dict[str, int]

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


def closed_loop(call: Callable[[], object], concurrency: int, seconds: float) -> LoadLevel:
    """Call from `concurrency` threads for `seconds`, each as soon as its last call returned.

    Raises:
        ServingError: the first failure, where no call succeeded at all.
    """
    latencies: list[float] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            start = time.perf_counter()
            try:
                call()
            except ServingError as error:
                failures.append(error)
            except Exception as error:
                failures.insert(0, error)
                stop.set()
            else:
                latencies.append(time.perf_counter() - start)

    threads = [threading.Thread(target=loop, daemon=True) for _ in range(concurrency)]
    begin = time.perf_counter()
    try:
        for thread in threads:
            thread.start()
        stop.wait(seconds)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    if failures and (not latencies or not isinstance(failures[0], ServingError)):
        raise failures[0]
    p50, p90, p99 = (float(each) * 1000 for each in np.percentile(latencies, [50, 90, 99]))
    kinds = Counter(type(error).__name__ for error in failures)
    return LoadLevel(concurrency, len(latencies), took, p50, p90, p99, dict(sorted(kinds.items())))
