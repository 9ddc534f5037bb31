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


def measure(
    calls: Mapping[str, Callable[[], object]], *, rounds: int = 200, seconds: float = 10.0
) -> dict[str, Latency]:
    """Time several calls, one of each in turn.

    Args:
        calls: The calls, by name.
        rounds: The largest number of calls of each that count.
        seconds: No round begins after this time, except the first three.

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
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= 3 and time.perf_counter() > end:
            break
        for name, call in calls.items():
            call()  # refills the caches that the model before it emptied
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: _latency(np.asarray(each) * 1000) for name, each in times.items()}


def _latency(milliseconds: Array) -> Latency:
    p50, p90, p99 = (float(each) for each in np.percentile(milliseconds, [50, 90, 99]))
    return Latency(p50, p90, p99, len(milliseconds))
