"""`serve`: the embedded server, in this process or in a child."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from attnexport.core.errors import ArgumentError
from attnexport.core.printable import printable
from attnexport.core.progress import Progress, silent

from .serve_files import is_model_file, make_servable
from .serve_plan import ServePlan
from .serve_settings import Port, ServeSettings
from .served import EmbeddedServer

_LOG = logging.getLogger("attnexport.serve")


def serve(
    export: str | Path | None = None,
    *,
    port: Port = "auto",
    rest_port: Port | None = "auto",
    settings: ServeSettings | None = None,
    imports: Sequence[str] = (),
    trust: bool = False,
    in_child: bool = False,
    on_event: Callable[[str], None] | None = None,
    on_access: Callable[[str], None] | None = None,
    progress: Progress = silent,
) -> EmbeddedServer:
    """Serve models as TF Serving does.

    The SavedModel of an export is served under the export's name, each .tflite under NAME.RECIPE. New versions are
    served as they appear.

    Args:
        export: An export directory, or a directory of them; a .keras file, which is exported to a temporary place
            first, or a .tflite; None for what `settings` names.
        port: gRPC port; `auto` takes a free one, 0 none: then gRPC listens only on the Unix socket that `settings`
            names.
        rest_port: REST port; `auto` takes a free one, 0 and None turn REST off.
        settings: How the server listens and works; TF Serving's flags.
        imports: Modules to import before models are loaded, for the operators that they register.
        trust: Run SavedModels even if they were made elsewhere and do more than compute.
        in_child: Serve in a process of its own, which does not share Python's lock with this one, and whose crash is
            not this one's. It sends no events and no access log.
        on_event: Called with what happens to versions, and with problems, such as a configuration that cannot be read.
            By default they are logged by the logger `attnexport.serve`.
        on_access: Called with one line per request.
        progress: Called with what is being done, if a .keras is exported.

    Returns:
        The server, to be used in a `with` block. Its ports are taken already; the models are loaded when it starts.

    Raises:
        ArgumentError: if nothing or more than one thing to serve is given, it does not exist, or settings contradict
            each other. When the server starts, if a module of `imports` does not exist.
        ContentError: if a configuration file does not parse.
        StorageError: if a port is taken.

    Example:
        >>> import attnexport as ax
        >>> with ax.serve("export/classifier") as server:  # doctest: +SKIP
        ...     client = ax.Client(server.grpc_address, model="classifier")
        ...     outputs = client.predict({"sequence": samples})
        >>> import tempfile  # a base path that holds no versions yet
        >>> with ax.serve(settings=ax.ServeSettings(model_base_path=tempfile.mkdtemp())) as server:
        ...     print(server.rest_address)
        http://127.0.0.1:...
    """
    from attnexport.store.trust import is_trusting

    settings, trust = settings or ServeSettings(), trust or is_trusting()  # which threads that load do not know
    temporary = None
    if export is not None and is_model_file(export):
        made = make_servable(Path(export), settings, imports, progress)
        export, settings, temporary = made.export, made.settings, made.temporary
    source = None if export is None else Path(export)
    plan = ServePlan(source, port, rest_port, settings, imports=tuple(imports), trust=trust)
    server: EmbeddedServer
    if settings.workers > 1:
        from .serve_workers import WorkerServers

        if on_access is not None:
            raise ArgumentError("--access_log and --workers exclude each other; give one of them")
        server = WorkerServers(plan, on_event or _log)
    elif in_child:
        from .embedded import ChildServer

        server = ChildServer(plan)
    else:
        from .embedded import LocalServer

        server = LocalServer(plan, on_event or _log, on_access)
    if temporary is not None:
        weakref.finalize(server, temporary.cleanup)
    return server


def _log(text: str) -> None:
    _LOG.log(logging.WARNING if text.startswith("warning: ") else logging.INFO, "%s", printable(text))
