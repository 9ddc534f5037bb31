"""The embedded server in this process, and in a child."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from attnexport.core.child_process import Child
from attnexport.core.errors import ContentError, ProcessError
from attnexport.core.progress import Progress, silent
from attnexport.core.user_modules import import_modules, load_modules
from attnexport.serving.server import Code, ModelConfig, Server, StatusError

from .serve_options import LOOPBACK, artifact_loader, server_options
from .serve_plan import ServePlan
from .serve_share import Share
from .serve_sources import Follower, model_source
from .served import EmbeddedServer, ServedModel, ServedVersion, ServeResult

_MAX_LOAD_SECONDS = 3600.0  # in a child, warm-up included
_COLLECT_AFTER = (700, 10, 10)  # Python's own numbers; the command line collects garbage rarely, which suits no server


class LocalServer(EmbeddedServer):
    """A server in this process."""

    def __init__(
        self,
        plan: ServePlan,
        on_event: Callable[[str], None],
        on_access: Callable[[str], None] | None = None,
        *,
        share: Share | None = None,
    ) -> None:
        settings = plan.settings
        source = model_source(plan.export, settings)
        self._plan, self._on_event = plan, on_event
        self._configs: Sequence[ModelConfig] = source()
        options = server_options(settings, port=plan.port, rest_port=plan.rest_port)
        if share is not None:
            options = share.options(options)
        loader = artifact_loader(settings, trust=plan.trust)
        if on_access is None:
            self._server = Server(loader, options, on_event=on_event)
        else:
            self._server = Server(loader, options, on_event=on_event, on_access=_access_log(on_access))
        socket = settings.grpc_socket_path
        self.grpc_address = self._server.address or (f"unix:{socket}" if socket else None)
        self.rest_address = self._server.rest_address
        follower = Follower(self._server, source, self._configs, on_event)
        poll_seconds = (
            settings.model_config_file_poll_wait_seconds
            if plan.export is None
            else settings.file_system_poll_wait_seconds
        )
        self._ending = threading.Event()
        self._following = threading.Thread(
            target=follower.follow, args=(poll_seconds, self._ending), name="follow", daemon=True
        )

    def start(self, progress: Progress = silent, *, own_process: bool = False) -> None:
        if self._plan.imports:
            progress("importing modules")
            import_modules(self._plan.imports)
        load_modules(self._plan.modules)
        progress("loading models")
        if own_process:
            _freeze_imports(self._configs)
        try:
            self._server.start(self._configs)
        except StatusError as error:
            raise ContentError(str(error)) from error
        models = self.state().models
        failed = [version for model in models for version in model.versions if version.error]
        if failed and not any(model.available for model in models):
            raise ContentError(f"nothing to serve: version {failed[0].version}: {failed[0].error}")
        self._following.start()
        self._warn()

    def close(self) -> bool:
        self._ending.set()
        return self._server.stop()

    def state(self) -> ServeResult:
        manager = self._server.manager
        models = [
            ServedModel(
                config.name,
                str(config.base_path),
                tuple(
                    ServedVersion(status.version, status.state.name, status.message)
                    for status in manager.statuses(config.name)
                ),
            )
            for config in manager.configs()
        ]
        return ServeResult(self.grpc_address, self.rest_address, tuple(models))

    def _warn(self) -> None:
        settings = self._plan.settings
        if settings.model_config_file and settings.model_base_path:
            self._on_event("--model_config_file is served; --model_base_path has no effect beside it")
        host = settings.host
        if host not in LOOPBACK:
            plain = "REST is without TLS" if settings.ssl_config_file else "without TLS"
            self._on_event(f"warning: listening on {host} {plain}: everyone who reaches this port can send requests")


class ChildServer(EmbeddedServer):
    """A server in a process of its own."""

    def __init__(self, plan: ServePlan) -> None:
        self._plan = plan
        self._child = Child(running="the embedded server", timeout=_MAX_LOAD_SECONDS)
        self._state = ServeResult(None, None, ())

    def start(self, progress: Progress = silent, *, own_process: bool = True) -> None:
        plan = self._plan.for_child()
        progress("loading models")
        try:
            self._state = self._child.enter(_serving, plan)
        except ProcessError as error:
            raise ContentError(f"the embedded server did not start: {error}") from error
        self.grpc_address, self.rest_address = self._state.grpc_address, self._state.rest_address

    def close(self) -> bool:
        self._child.close()
        return True

    def state(self) -> ServeResult:
        """As it was at the start."""
        return self._state


@contextmanager
def _serving(plan: ServePlan) -> Iterator[ServeResult]:
    """What runs in the child."""
    server = LocalServer(plan, _ignore)
    try:
        server.start(own_process=True)
        yield server.state()
    finally:
        server.close()


def _ignore(text: str) -> None:
    """Nobody reads a child's events."""


def _access_log(write: Callable[[str], None]) -> Callable[[str, str, str, Code, float], None]:
    def log(entrypoint: str, api: str, model: str, code: Code, seconds: float) -> None:
        write(f"{entrypoint} {api} {json.dumps(model)} {code.name} {seconds * 1000:.2f} ms")

    return log


def _freeze_imports(configs: Sequence[ModelConfig]) -> None:
    """Exempt what is imported from garbage collection, before models load, which would never be freed."""
    if any(config.artifact is None and any(config.base_path.glob("*/saved_model.pb*")) for config in configs):
        from attnexport.exporter import ServedSavedModel  # noqa: F401 - TensorFlow is most of it
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
