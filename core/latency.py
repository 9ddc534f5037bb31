"""The latency loop: several calls side by side, interleaved, so that what disturbs one disturbs all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_WARM_UP = 5  # calls of each before anything counts


@dataclass(frozen=True)
class Latency:
    """Percentiles of the time of one call, in ms, over `calls` calls."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    calls: int


def measure(
    calls: Mapping[str, Callable[[], object]], *, rounds: int = 200, seconds: float = 10.0
) -> dict[str, Latency]:
    """Time calls, one of each in turn.

    Args:
        calls: What to time, by name.
        rounds: The most calls of each that count.
        seconds: After this time no round begins, once there have been three.

    Returns:
        By name, in the order given.
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
            call()  # or the first after a large model pays for the caches that it emptied
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: _latency(np.asarray(found) * 1000) for name, found in times.items()}


def _latency(milliseconds: np.ndarray[Any, Any]) -> Latency:
    p50, p90, p99 = (float(each) for each in np.percentile(milliseconds, [50, 90, 99]))
    return Latency(p50, p90, p99, len(milliseconds))
