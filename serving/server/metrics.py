"""What is counted and measured, under TF Serving's names, for Prometheus and the page."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

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
    mean_ms: float | None


class Metrics:
    """The counters and histograms of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("request_count", "Requests by how they ended.", "model_name", "status")
        self._latency = self._histogram(
            "request_latency", "Of requests, in microseconds.", "model_name", "API", "entrypoint"
        )
        self._runtime = self._histogram(
            "runtime_latency", "Of calls of the model, in microseconds.", "model_name", "API", "runtime"
        )
        self._examples = self._counter("request_example_count_total", "Examples in requests.", "model")
        self._example_counts = self._histogram(
            "request_example_counts", "Examples in a request.", "model", bounds=_COUNTS
        )
        self._warmup = self._histogram(
            "model_warmup_latency", "Of the warm-up of a version, in microseconds.", "model_path", "status"
        )
        self._queuing = self._histogram(
            "batching_session:queuing_latency", "Of waiting for a batch, in microseconds.", "model_name"
        )

    def request(self, model: str | None, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """A request ended; `model` is None where there is none of the name that it gave."""
        name = _UNKNOWN_MODEL if model is None else model
        self._requests.labels(name, code.name).inc()
        self._latency.labels(name, api, entrypoint).observe(seconds * 1e6)

    def call(self, model: str, api: str, runtime: str, seconds: float) -> None:
        """A call of the model ended."""
        self._runtime.labels(model, api, runtime).observe(seconds * 1e6)

    def examples(self, model: str, count: int) -> None:
        """A request held that many examples."""
        self._examples.labels(model).inc(count)
        self._example_counts.labels(model).observe(count)

    def warmup(self, path: str, code: Code, seconds: float) -> None:
        """The warm-up of a version ended."""
        self._warmup.labels(path, code.name).observe(seconds * 1e6)

    def queued(self, model: str, seconds: float) -> None:
        """A request waited that long for its batch."""
        self._queuing.labels(model).observe(seconds * 1e6)

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        text = generate_latest(self._registry).decode()
        # The library gives every counter the ending `_total`, and a time of making that TF Serving has not.
        text = text.replace(f"{PREFIX}request_count_total", f"{PREFIX}request_count")
        lines = [line for line in text.splitlines() if "_created" not in line.split("{")[0]]
        return ("\n".join(lines) + "\n").encode()

    def traffic(self) -> dict[str, Traffic]:
        """By model."""
        counts: dict[str, dict[str, int]] = defaultdict(dict)
        sums: dict[str, float] = defaultdict(float)
        for metric in self._registry.collect():
            for sample in metric.samples:
                model = sample.labels.get("model_name", "")
                if sample.name == f"{PREFIX}request_count_total":
                    counts[model][sample.labels["status"]] = int(sample.value)
                elif sample.name == f"{PREFIX}request_latency_sum":
                    sums[model] += sample.value / 1000
        return {
            model: Traffic(by_status, sums[model] / sum(by_status.values()) if by_status else None)
            for model, by_status in counts.items()
        }

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, *labels: str, bounds: list[float] | list[int] = _BOUNDS) -> Histogram:
        return Histogram(PREFIX + name, text, labels, registry=self._registry, buckets=bounds)
