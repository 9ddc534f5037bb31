"""The last minutes of each model's traffic, for the page: inference alone, no probes, status calls or metadata."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_SECONDS, _SLICES = 10, 60  # of a slice, and how many are kept
_LATENCIES = 1000  # of the last requests that succeeded


@dataclass(frozen=True)
class Recent:
    """A model's requests.

    Attributes:
        by_status: Requests since the start by how they ended.
        per_slice: Requests in each ten seconds of the last ten minutes, the present ones last.
        p50_ms: Median latency of the last requests that succeeded; None without any.
        p99_ms: Their 99th percentile.
    """

    by_status: dict[str, int] = field(default_factory=dict)
    per_slice: Sequence[int] = (0,) * _SLICES
    p50_ms: float | None = None
    p99_ms: float | None = None

    @property
    def requests(self) -> int:
        return sum(self.by_status.values())

    @property
    def errors(self) -> int:
        return self.requests - self.by_status.get("OK", 0)


class RecentTraffic:
    """Counts requests by model.

    Args:
        clock: Seconds; of tests.

    Example:
        >>> traffic = RecentTraffic(clock=lambda: 1000.0)
        >>> traffic.add("digits", "OK", 0.002)
        >>> traffic.add("digits", "INVALID_ARGUMENT", 0.001)
        >>> shown = traffic.of("digits")
        >>> shown.requests, shown.errors, shown.p50_ms, shown.per_slice[-1]
        (2, 1, 2.0, 2)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._by_status: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._slices: defaultdict[str, deque[list[int]]] = defaultdict(lambda: deque(maxlen=_SLICES))
        self._latencies: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_LATENCIES))

    def add(self, model: str, status: str, seconds: float) -> None:
        """Count a request that ended."""
        now = int(self._clock() // _SECONDS)
        with self._lock:
            self._by_status[model][status] += 1
            slices = self._slices[model]
            if slices and slices[-1][0] == now:
                slices[-1][1] += 1
            else:
                slices.append([now, 1])
            if status == "OK":
                self._latencies[model].append(seconds * 1000)

    def of(self, model: str) -> Recent:
        """What is known of a model."""
        now = int(self._clock() // _SECONDS)
        with self._lock:
            if model not in self._by_status:
                return Recent()
            counts = {each[0]: each[1] for each in self._slices[model]}
            latencies = sorted(self._latencies[model])
            by_status = dict(sorted(self._by_status[model].items()))
        per_slice = tuple(counts.get(number, 0) for number in range(now - _SLICES + 1, now + 1))
        if not latencies:
            return Recent(by_status, per_slice)
        p50, p99 = (round(latencies[int(share * (len(latencies) - 1))], 2) for share in (0.5, 0.99))
        return Recent(by_status, per_slice, p50, p99)
