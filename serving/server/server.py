"""The server: a data plane, its edges, and their lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .batching import BatchingOptions
from .configuration import ModelConfig
from .dataplane import DataPlane
from .grpc_edge import GrpcEdge, GrpcOptions
from .inference import Inference
from .loading import ModelLoader
from .manager import ModelManager
from .metrics import Metrics
from .model_lifecycle import LoadContext
from .rest_edge import RestEdge, RestOptions
from .status import Code
from .warmup import warm_up

_BEYOND = 1.0  # seconds after the grace in which edges end and idle models are freed


def silent(text: str) -> None:
    """Tell nobody."""


def unlogged(entrypoint: str, api: str, model: str, code: Code, seconds: float) -> None:
    """Write no access log."""


@dataclass(frozen=True)
class ServerOptions:
    """How a Server listens and works.

    Attributes:
        host: The address that both edges bind.
        port: Of gRPC; 0 takes a free one, None listens on no port.
        rest_port: Of REST; 0 takes a free one, None is off.
        grpc: More of the gRPC edge.
        rest: More of the REST edge.
        poll_seconds: Between two looks for new versions; 0 never looks again.
        max_load_retries: How often a version that fails to load is tried again, after `retry_interval_seconds`.
        warmup: Whether warm-up records are replayed, each `warmup_iterations` times.
        check_method_names: Whether Classify and Regress want the method that the artifact names.
        allow_unavailable_labels: Whether a label may name a version that is not available.
        batching: How requests are joined; not at all where None.
        grace_seconds: How long requests that run may take when the server ends.
    """

    host: str = "127.0.0.1"
    port: int | None = 8500
    rest_port: int | None = 8501
    grpc: GrpcOptions = field(default_factory=GrpcOptions)
    rest: RestOptions = field(default_factory=RestOptions)
    poll_seconds: float = 1.0
    max_load_retries: int = 0
    retry_interval_seconds: float = 60.0
    warmup: bool = True
    warmup_iterations: int = 1
    check_method_names: bool = False
    allow_unavailable_labels: bool = False
    batching: BatchingOptions | None = None
    grace_seconds: float = 10.0


class Server:
    """TF Serving's API over models that a loader loads.

    The ports are taken when it is made; nothing is answered before `start`.

    Args:
        loader: Finds and loads versions.
        options: How it listens and works.
        on_event: Told in words what happened to versions.
        on_access: Told of every request: edge, API, model, how it ended, seconds.

    Raises:
        StorageError: where a port is taken.
    """

    def __init__(
        self,
        loader: ModelLoader,
        options: ServerOptions | None = None,
        *,
        on_event: Callable[[str], None] = silent,
        on_access: Callable[[str, str, str, Code, float], None] = unlogged,
    ) -> None:
        self._options = options = options or ServerOptions()
        inference = Inference(Metrics(), options.check_method_names)
        warm = warm_up(inference, options.warmup_iterations) if options.warmup else lambda version: None
        context = LoadContext(
            loader, warm, on_event, options.batching, options.max_load_retries, options.retry_interval_seconds
        )
        self.manager = ModelManager(
            context, poll_seconds=options.poll_seconds, allow_unavailable_labels=options.allow_unavailable_labels
        )
        self.plane = DataPlane(self.manager, inference)
        self._idle: bool | None = None  # once it has ended
        self._stopping = threading.RLock()  # a handler of signals may come in between
        self._rest: RestEdge | None = None
        host = f"[{options.host}]" if ":" in options.host else options.host
        if options.rest_port is not None:
            self._rest = RestEdge(self.plane, options.host, options.rest_port, options.rest, on_access)
        try:
            address = None if options.port is None else f"{host}:{options.port}"
            self._grpc = GrpcEdge(self.plane, address, options.grpc, on_access)
        except BaseException:
            if self._rest is not None:
                self._rest.stop(0)
            raise
        self.address = f"{host}:{self._grpc.port}" if options.port is not None else None
        self.rest_address = f"http://{host}:{self._rest.port}" if self._rest is not None else None
        if self._rest is not None:
            self._rest.grpc_address = self.address

    def start(self, configs: Sequence[ModelConfig]) -> None:
        """Load the models, then answer.

        Raises:
            StatusError: where a label names a version that is not available.
        """
        self.manager.configure(configs)
        self.manager.start_polling()
        self._grpc.start()
        if self._rest is not None:
            self._rest.start()

    def stop(self) -> bool:
        """Refuse new requests, let those that run end within the grace, free what they let go. RepeatFilter is enough.

        Returns:
            Whether nothing runs any more.
        """
        with self._stopping:
            if self._idle is None:
                self._idle = self._drain(self._options.grace_seconds)
            return self._idle

    def _drain(self, grace: float) -> bool:
        until = time.monotonic() + grace
        # Both edges refuse at once, and drain beside each other; a request that never ends keeps its edge for good.
        edges = [each for each in (self._grpc, self._rest) if each is not None]
        stopping = [threading.Thread(target=edge.stop, args=(grace,), daemon=True) for edge in edges]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join(max(0.0, until + _BEYOND - time.monotonic()))
        return self.manager.stop(max(_BEYOND, until - time.monotonic()))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
