"""The latency loop: several calls in turn, so that a disturbance affects all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .signature import Array

_WARM_UP = 5  # calls of each before anything counts


@dataclass(frozen=True)
class Latency:
    """Percentiles of the duration of a call, in ms, over `calls` calls."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    calls: int
    p10_ms: float = 0.0

    @property
    def spread(self) -> float:
        """Half the distance from the 10th to the 90th percentile, over the median: how far calls differ."""
        return (self.p90_ms - self.p10_ms) / 2 / self.p50_ms if self.p50_ms else 0.0


def measure(
    calls: Mapping[str, Callable[[], object]], *, rounds: int = 200, seconds: float = 10.0, least: int = 3
) -> dict[str, Latency]:
    """Time several calls, one of each in turn.

    Args:
        calls: The calls, by name.
        rounds: The largest number of calls of each that count.
        seconds: No round begins after this time, except the first three.
        least: Rounds to make even so, unless they take ten times as long.

    Returns:
        The latencies by name, in the order of `calls`.

    Example:
        >>> latencies = measure({"nothing": lambda: None}, rounds=3)
        >>> latencies["nothing"].calls
        3
    """
    for call in calls.values():
        for _ in range(_WARM_UP):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    start_of_all = time.perf_counter()
    for number in range(rounds):
        passed = time.perf_counter() - start_of_all
        if number >= 3 and passed > (10 * seconds if number < least else seconds):
            break
        for name, call in calls.items():
            call()  # refills the caches that the model before it emptied
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: _latency(np.asarray(each) * 1000) for name, each in times.items()}


def _latency(milliseconds: Array) -> Latency:
    p10, p50, p90, p99 = (float(each) for each in np.percentile(milliseconds, [10, 50, 90, 99]))
    return Latency(p50, p90, p99, len(milliseconds), p10)
