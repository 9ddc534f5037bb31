"""What is counted and measured, under TF Serving's names, for Prometheus and the page."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from .status import Code

PREFIX = ":tensorflow:serving:"
DEFAULT_PATH = "/monitoring/prometheus/metrics"
_BOUNDS = [10 * 1.8**n for n in range(33)]  # microseconds
_COUNTS = [2**n for n in range(20)]
_UNKNOWN_MODEL = "(unknown)"  # names that clients make up must not fill the memory


@dataclass(frozen=True)
class Traffic:
    """Of one model since the start: requests by how they ended, and their mean latency in ms."""

    by_status: dict[str, int]
    mean_ms: float


class Counts:
    """A number by labels."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._about = PREFIX + name, text, labels
        self._counts: dict[tuple[str, ...], int] = defaultdict(int)
        self._lock = threading.Lock()

    def add(self, count: int, *labels: str) -> None:
        """Count so many more."""
        with self._lock:
            self._counts[labels] += count

    def items(self) -> list[tuple[tuple[str, ...], int]]:
        """Labels, and what was counted."""
        with self._lock:
            return list(self._counts.items())

    def family(self) -> Any:
        """As Prometheus has it."""
        name, text, labels = self._about
        family = CounterMetricFamily(name, text, labels=labels)
        for values, count in self.items():
            family.add_metric(values, count)
        return family


class Histograms:
    """Histograms by labels.

    prometheus_client writes them and does not count them: it asks one bound after the other, and for the labels each
    time, which costs a small model as much as its own work.
    """

    def __init__(self, name: str, text: str, *labels: str, bounds: Sequence[float] | None = None) -> None:
        self._about = PREFIX + name, text, labels
        self._bounds = _BOUNDS if bounds is None else list(bounds)
        self._tallies: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * (len(self._bounds) + 1))
        self._sums: dict[tuple[Any, ...], float] = defaultdict(float)
        self._lock = threading.Lock()

    def observe(self, value: float, *labels: Any) -> None:
        """Put one more value in its bucket."""
        place = bisect_left(self._bounds, value)
        with self._lock:
            self._tallies[labels][place] += 1
            self._sums[labels] += value

    def add(self, tally: Sequence[int], total: float, *labels: Any) -> None:
        """Add values that were put in buckets elsewhere, and their sum."""
        with self._lock:
            self._tallies[labels] = [mine + more for mine, more in zip(self._tallies[labels], tally, strict=True)]
            self._sums[labels] += total

    def items(self) -> list[tuple[tuple[Any, ...], list[int], float]]:
        """Labels, values a bucket, and the sum of the values."""
        with self._lock:
            return [(labels, list(tally), self._sums[labels]) for labels, tally in self._tallies.items()]

    def family(self) -> Any:
        """As Prometheus has it."""
        name, text, labels = self._about
        family = HistogramMetricFamily(name, text, labels=labels)
        bounds = [*map(str, map(float, self._bounds)), "+Inf"]
        for values, tally, total in self.items():
            family.add_metric(values, list(zip(bounds, accumulate(tally), strict=True)), total)
        return family


class Metrics:
    """The counters and histograms of one server."""

    def __init__(self) -> None:
        # One for both of TF Serving's, which are sums over it: each request is counted once.
        self._requests = Histograms("requests", "", "model_name", "API", "entrypoint", "status")
        self._runtime = Histograms(
            "runtime_latency", "Of calls of the model, in microseconds.", "model_name", "API", "runtime"
        )
        self._examples = Counts("request_example_count_total", "Examples in requests.", "model")
        self._example_counts = Histograms("request_example_counts", "Examples in a request.", "model", bounds=_COUNTS)
        self._warmup = Histograms(
            "model_warmup_latency", "Of the warm-up of a version, in microseconds.", "model_path", "status"
        )
        self._queuing = Histograms(
            "batching_session:queuing_latency", "Of waiting for a batch, in microseconds.", "model_name"
        )
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def request(self, model: str | None, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """A request ended; `model` is None where there is none of the name that it gave."""
        self._requests.observe(seconds * 1e6, _UNKNOWN_MODEL if model is None else model, api, entrypoint, code)

    def call(self, model: str, api: str, runtime: str, seconds: float) -> None:
        """A call of the model ended."""
        self._runtime.observe(seconds * 1e6, model, api, runtime)

    def examples(self, model: str, count: int) -> None:
        """A request held that many examples."""
        self._examples.add(count, model)
        self._example_counts.observe(count, model)

    def warmup(self, path: str, code: Code, seconds: float) -> None:
        """The warm-up of a version ended."""
        self._warmup.observe(seconds * 1e6, path, code.name)

    def queued(self, model: str, seconds: float) -> None:
        """A request waited that long for its batch."""
        self._queuing.observe(seconds * 1e6, model)

    def collect(self) -> Iterator[Any]:
        """Every metric, for the registry."""
        count = Counts("request_count", "Requests by how they ended.", "model_name", "status")
        latency = Histograms("request_latency", "Of requests, in microseconds.", "model_name", "API", "entrypoint")
        for (model, api, entrypoint, status), tally, total in self._requests.items():
            count.add(sum(tally), model, Code(status).name)
            latency.add(tally, total, model, api, entrypoint)
        for metric in (
            count, latency, self._runtime, self._examples, self._example_counts, self._warmup, self._queuing
        ):  # fmt: skip
            yield metric.family()

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        text = generate_latest(self._registry).decode()
        # The library gives every counter the ending `_total`.
        return text.replace(f"{PREFIX}request_count_total", f"{PREFIX}request_count").encode()

    def traffic(self) -> dict[str, Traffic]:
        """By model."""
        counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        sums: dict[str, float] = defaultdict(float)
        for (model, _, _, status), tally, total in self._requests.items():
            counts[model][Code(status).name] += sum(tally)
            sums[model] += total / 1000
        return {
            model: Traffic(dict(by_status), sums[model] / sum(by_status.values()))
            for model, by_status in counts.items()
        }
