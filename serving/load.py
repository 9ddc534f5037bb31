"""Load on a server: callers that each wait for a reply before they send the next request."""

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
    """What one level of concurrency measured.

    Attributes:
        concurrency: Callers at once.
        requests: Successful calls.
        seconds: How long they took together.
        p50: Latency in ms that half of the calls did not exceed.
        p90: Latency in ms that 90 % did not exceed.
        p99: Latency in ms that 99 % did not exceed.
        failures: Failed calls, by the name of their error.
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
        """Successful calls a second."""
        return self.requests / self.seconds


def closed_loop(call: Callable[[], object], concurrency: int, seconds: float) -> LoadLevel:
    """Call from several threads for a while, each again as soon as its last call returned.

    Args:
        call: Makes one call.
        concurrency: How many threads call.
        seconds: How long they call.

    Returns:
        The throughput, latencies and failures.

    Raises:
        ServingError: the first failure, if no call succeeded.

    Example:
        >>> level = closed_loop(lambda: None, concurrency=2, seconds=0.01)
        >>> level.concurrency, level.requests > 0, level.failures
        (2, True, {})
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
