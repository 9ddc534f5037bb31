"""The server: it makes a data plane and its edges, starts them and ends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .batching import BatchingOptions
from .configuration import ModelConfig
from .dataplane import DataPlane
from .edges import OnAccess, no_access_log
from .grpc_edge import GrpcEdge, GrpcOptions
from .inference import Inference
from .loading import ModelLoader
from .manager import ModelManager
from .metrics import Metrics
from .model_lifecycle import LoadContext
from .rest_app import RestOptions
from .rest_edge import RestEdge
from .warmup import warm_up

_AFTER_GRACE = 1.0  # seconds after the grace period in which edges end and idle models are freed


def no_events(text: str) -> None:
    """Log no events."""


@dataclass(frozen=True)
class ServerOptions:
    """How a Server listens and works.

    Attributes:
        host: Address that both edges bind.
        port: Port of gRPC. 0 takes a free one; None listens on no port.
        rest_port: Port of REST. 0 takes a free one; None turns REST off.
        rest_fd: A listening socket of REST that this process has inherited, in place of `rest_port`.
        workers: How many processes serve on these ports. A reload would reach one, so that more than one refuse it.
        metrics_folder: Where the processes count together; None counts in this one alone.
        grpc: Options of the gRPC edge.
        rest: Options of the REST edge.
        poll_seconds: Seconds between two scans for new versions; 0 scans only when a configuration comes.
        max_load_retries: How often the load of a version is tried again after a failure.
        retry_interval_seconds: The pause before each of these tries.
        warmup: Whether warm-up records are replayed, each `warmup_iterations` times.
        check_method_names: Whether Predict requires a known method name in the SignatureDef, Classify and Regress
            their own.
        strict_shapes: Whether inputs must have the shapes that the signature declares; TF Serving leaves that to the
            graph.
        allow_unavailable_labels: Whether a new label may name a version that is not available.
        batching: How requests are joined; None turns batching off.
        grace_seconds: How long running requests may take when the server ends.

    Example:
        >>> ServerOptions(port=0, rest_port=None).host
        '127.0.0.1'
    """

    host: str = "127.0.0.1"
    port: int | None = 8500
    rest_port: int | None = 8501
    rest_fd: int | None = None
    workers: int = 1
    metrics_folder: str | None = None
    grpc: GrpcOptions = field(default_factory=GrpcOptions)
    rest: RestOptions = field(default_factory=RestOptions)
    poll_seconds: float = 1.0
    max_load_retries: int = 0
    retry_interval_seconds: float = 60.0
    warmup: bool = True
    warmup_iterations: int = 1
    check_method_names: bool = False
    strict_shapes: bool = False
    allow_unavailable_labels: bool = False
    batching: BatchingOptions | None = None
    grace_seconds: float = 10.0


class Server:
    """TF Serving's API over models that a loader loads.

    The constructor takes the ports; requests are answered after `start`. Use it as a context manager, or call `stop`.

    Args:
        loader: Finds and loads versions.
        options: How the server listens and works.
        on_event: Called with a line of text when something happened to a version.
        on_access: Called after every request with the entrypoint (`GRPC` or `REST`), the API, the name of the model,
            the code of the status, and the seconds that it took.

    Attributes:
        address: `HOST:PORT` of gRPC; None if it listens on no port.
        rest_address: `http://HOST:PORT` of REST; None if it is off.

    Raises:
        StorageError: if a port is taken.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> class NoVersions:  # a ModelLoader that finds nothing
        ...     def find(self, directory, artifact):
        ...         return None
        >>> options = ServerOptions(port=0, rest_port=0)
        >>> with tempfile.TemporaryDirectory() as folder, Server(NoVersions(), options) as server:
        ...     server.start([ModelConfig("digits", Path(folder))])
        ...     server.rest_address.rpartition(":")[0]
        'http://127.0.0.1'
    """

    def __init__(
        self,
        loader: ModelLoader,
        options: ServerOptions | None = None,
        *,
        on_event: Callable[[str], None] = no_events,
        on_access: OnAccess = no_access_log,
    ) -> None:
        self._options = options = options or ServerOptions()
        inference = Inference(Metrics(options.metrics_folder), options.check_method_names, options.strict_shapes)
        warm = warm_up(inference, options.warmup_iterations) if options.warmup else lambda version: None
        context = LoadContext(
            loader, warm, on_event, options.batching, options.max_load_retries, options.retry_interval_seconds
        )
        self.manager = ModelManager(
            context, poll_seconds=options.poll_seconds, allow_unavailable_labels=options.allow_unavailable_labels
        )
        self.plane = DataPlane(self.manager, inference, options.workers)
        self._is_idle: bool | None = None  # set at the end
        self._stopping = threading.RLock()  # a signal handler may call `stop` during `stop`
        self._rest: RestEdge | None = None
        host = f"[{options.host}]" if ":" in options.host else options.host
        if options.rest_port is not None or options.rest_fd is not None:
            rest = options.rest_port or 0, options.rest, on_access, options.rest_fd
            self._rest = RestEdge(self.plane, options.host, *rest)
        try:
            address = None if options.port is None else f"{host}:{options.port}"
            self._grpc = GrpcEdge(self.plane, address, options.grpc, on_access)
        except BaseException:
            if self._rest is not None:
                self._rest.stop(0)
            raise
        self.address = f"{host}:{self._grpc.port}" if options.port is not None else None
        self.rest_address = f"http://{host}:{self._rest.port}" if self._rest is not None else None

    def start(self, configs: Sequence[ModelConfig]) -> None:
        """Load the models, then answer requests.

        Raises:
            StatusError: if a label names a version that is not available.
        """
        self.manager.configure(configs)
        self.manager.start_polling()
        self._grpc.start()
        if self._rest is not None:
            self._rest.start(self.address)

    def stop(self) -> bool:
        """Refuse new requests, wait for running ones within the grace period, and free the models.

        Returns:
            Whether everything has stopped. A second call returns the same.
        """
        with self._stopping:
            if self._is_idle is None:
                self._is_idle = self._drain(self._options.grace_seconds)
            return self._is_idle

    def _drain(self, grace: float) -> bool:
        until = time.monotonic() + grace
        # Both edges refuse at once and drain at the same time; a request that never ends keeps its edge for good.
        edges = [each for each in (self._grpc, self._rest) if each is not None]
        stopping = [threading.Thread(target=edge.stop, args=(grace,), daemon=True) for edge in edges]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join(max(0.0, until + _AFTER_GRACE - time.monotonic()))
        return self.manager.stop(max(_AFTER_GRACE, until - time.monotonic()))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
