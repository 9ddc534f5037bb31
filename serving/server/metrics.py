"""What is counted and measured, under TF Serving's names, for Prometheus and the page.

As in TF Serving, `request_count` has the Predict, Classify and Regress requests of gRPC and every REST request,
`request_latency` those of them that succeed, and example counts are MultiInference's alone. Names of unknown models
become labels, too, but only the first hundred: names that clients make up must not fill the memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from .recent import RecentTraffic
from .status import Code

PREFIX = ":tensorflow:serving:"
DEFAULT_PATH = "/monitoring/prometheus/metrics"
_MICROSECONDS = tuple(10 * 1.8**n for n in range(33))
_COUNTS = tuple(float(2**n) for n in range(15))
_MAX_UNKNOWN_MODELS = 100
_MAX_UNKNOWN_NAME = 200  # characters that are kept of each
_OTHER_MODELS = "(unknown)"


def count_as(number: int) -> None:
    """Count as this one of several processes that count in a folder.

    By default prometheus_client numbers the files by process. Those of workers that died would pile up; one that is
    started again goes on with the files of its number.
    """
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


class Metrics:
    """The counters and histograms of one server.

    Args:
        folder: Where processes that count together do so, which is $PROMETHEUS_MULTIPROC_DIR of each.

    Attributes:
        recent: The inference requests of the last minutes, for the page.

    Example:
        >>> metrics = Metrics()
        >>> metrics.request("digits", "Predict", "GRPC", Code.OK, 0.002)
        >>> metrics.recent.of("digits").by_status
        {'OK': 1}
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._families: list[Counter | Histogram] = []
        self._unknown_models: set[str] = set()
        self._lock = threading.Lock()
        self._requests = self._counter("request_count", "Requests.", "model_name", "status")
        self._latency = self._histogram(
            "request_latency", "Microseconds of a request that succeeded.", "model_name", "API", "entrypoint"
        )
        self._runtime = self._histogram(
            "runtime_latency", "Microseconds of a call of the model.", "model_name", "API", "runtime"
        )
        self._examples = self._counter("request_example_count_total", "Examples in MultiInference requests.", "model")
        self._example_counts = self._histogram(
            "request_example_counts", "Examples in a MultiInference request.", "model", buckets=_COUNTS
        )
        self._warmup = self._histogram(
            "model_warmup_latency", "Microseconds of the warm-up of a version.", "model_path", "status"
        )
        self._queuing = self._histogram(
            "batching_session:queuing_latency", "Microseconds that a request waited for its batch.", "model_name"
        )
        self.recent = RecentTraffic()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def request(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count a request that ended.

        Args:
            model: The name of a model, or `unknown_model` of another name.
            api: What was called, as TF Serving labels it: `Predict` over gRPC, `predict` over REST, empty for status
                and metadata.
            entrypoint: `GRPC` or `REST`.
            code: How the request ended.
            seconds: How long it took.
        """
        self._requests(model, code.name).inc()
        if api:
            self.recent.add(model, code.name, seconds)
        if code is Code.OK:
            self._latency(model, api, entrypoint).observe(seconds * 1e6)

    def unknown_model(self, name: str) -> str:
        """The label for requests to a model that does not exist: its name, or one label for all once there are many."""
        name = name[:_MAX_UNKNOWN_NAME]
        with self._lock:
            if name not in self._unknown_models and len(self._unknown_models) >= _MAX_UNKNOWN_MODELS:
                return _OTHER_MODELS
            self._unknown_models.add(name)
        return name

    def call(self, model: str, api: str, runtime: str, seconds: float) -> None:
        """Measure a call of a model."""
        self._runtime(model, api, runtime).observe(seconds * 1e6)

    def examples(self, model: str, count: int) -> None:
        """Count the examples of a request."""
        self._examples(model).inc(count)
        self._example_counts(model).observe(count)

    def warmup(self, path: str, code: Code, seconds: float) -> None:
        """Measure the warm-up of a version."""
        self._warmup(path, code.name).observe(seconds * 1e6)

    def queued(self, model: str, seconds: float) -> None:
        """Measure how long a request waited for its batch."""
        self._queuing(model).observe(seconds * 1e6)

    def collect(self) -> Iterator[Metric]:
        """Every metric, with bounds as TF Serving writes them (`le="10"`), for the registry."""
        found = (
            chain.from_iterable(each.collect() for each in self._families) if self._folder is None else self._merged()
        )
        for metric in found:
            metric.samples = [
                sample._replace(labels={**sample.labels, "le": f"{float(bound):.6g}"})
                if (bound := sample.labels.get("le", "+Inf")) != "+Inf"
                else sample
                for sample in metric.samples
                if not sample.name.endswith("_created")
            ]
            yield metric

    def _merged(self) -> Iterable[Metric]:
        """What all processes have counted.

        A file is empty for a moment when a process has just made it, and may be removed after it was listed.
        """
        files = []
        for each in Path(self._folder or "").glob("*.db"):
            with suppress(FileNotFoundError):
                if each.stat().st_size:
                    files.append(str(each))
        try:
            merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            return self._merged()
        return merged

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        text = generate_latest(self._registry).decode()
        # The library gives every counter the ending `_total`.
        return text.replace(f"{PREFIX}request_count_total", f"{PREFIX}request_count").encode()

    def _counter(self, name: str, text: str, *labels: str) -> Callable[..., Counter]:
        family = Counter(PREFIX + name, text, labels, registry=None)
        self._families.append(family)
        return cache(family.labels)  # which takes longer than counting

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _MICROSECONDS
    ) -> Callable[..., Histogram]:
        family = Histogram(PREFIX + name, text, labels, registry=None, buckets=buckets)
        self._families.append(family)
        return cache(family.labels)
