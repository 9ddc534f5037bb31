"""`attnexport serve`: the embedded server."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from attnexport.core.errors import ContentError

from .boundary import DONE, run
from .command import command
from .serve_flags import ServingCommand, serving_flags, without_effect
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.serving.server import ModelConfig, Server

_LOOK = 0.5  # seconds between two looks for an interrupt while the server ends
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@command(
    "serve",
    cls=ServingCommand,
    example="""
    attnexport serve export/classifier --port 8500 --rest_api_port auto
    attnexport serve --model_base_path /models/classifier --model_name classifier
    """,
)
@click.argument("export", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--access_log", is_flag=True, help="One line a request on stderr.")
@click.option(
    "--max_message_bytes", type=click.IntRange(1), default=1 << 30, show_default=True, help="Of a gRPC message."
)
@click.option(
    "--max_body_bytes", type=click.IntRange(1), default=128 << 20, show_default=True, help="Of a REST body, unpacked."
)
@click.option(
    "--grace_seconds",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="For running requests at the end.",
)
@serving_flags
def serve(terminal: Terminal, export: str | None, **options: Any) -> None:
    """Serve models as TF Serving does.

    EXPORT is an export directory, or a directory of them: its SavedModel is served under its name, each .tflite under
    NAME.RECIPE. Or use tensorflow_model_server's flags, with underscores or dashes.
    """
    from .serve_sources import Follower, model_source

    for name in without_effect(options):
        terminal.note(f"--{name} has no effect in the embedded server")
    source = model_source(export, options)
    if options["model_config_file"] and options["model_base_path"]:
        terminal.note("--model_config_file is served; --model_base_path has no effect beside it")
    configs = source()
    # SIGTERM is caught from before the models load until after the server has drained.
    with _sigterm() as ended, contextlib.ExitStack() as stack:
        with terminal.steps() as on_step:
            on_step("loading models")
            server = make_server(terminal, options, rest_by_default=export is not None)
            stack.callback(_end, terminal, server)
            _freeze(configs)
            start(server, configs)
        _warn(terminal, options)
        terminal.result(_document(server, configs), lambda console: _show(console, server, configs))
        poll_seconds = _poll_seconds(options, export)
        follower = Follower(server, source, configs, terminal.note)
        while not ended(poll_seconds or None):
            follower.look()


@contextlib.contextmanager
def _sigterm() -> Iterator[Callable[[float | None], bool]]:
    """A function that waits so many seconds for SIGTERM, for ever where None; true once it has come.

    By a pipe that the signal itself writes to, of whichever thread it interrupts: Python's handler has to wait for the
    main one, which waits here. An Event would be locked by the very thread that waits for it, at the wrong moment for
    good.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    written = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def ended(seconds: float | None) -> bool:
        return bool(select.select([reader], [], [], seconds)[0]) and signal.SIGTERM in os.read(reader, 512)

    try:
        yield ended
    finally:
        signal.set_wakeup_fd(written)
        signal.signal(signal.SIGTERM, before)
        os.close(reader)
        os.close(writer)


def make_server(terminal: Terminal, options: dict[str, Any], *, rest_by_default: bool) -> Server:
    """The server that the flags ask for, not started yet."""
    from attnexport.serving.server import Server

    from .serve_models import ArtifactLoader
    from .serve_settings import server_options

    session = options["tensorflow_session_parallelism"]
    loader = ArtifactLoader(
        prefer_tflite=options["prefer_tflite_model"],
        tags=tuple(tag for tag in options["saved_model_tags"].split(",") if tag),
        interpreters=max(1, options["num_tflite_interpreters_per_pool"]),
        intra_op_threads=options["tensorflow_intra_op_parallelism"] or session or 1,
        inter_op_threads=options["tensorflow_inter_op_parallelism"] or session or 1,
    )

    def log(entrypoint: str, api: str, model: str, code: Any, seconds: float) -> None:
        terminal.log(f"{entrypoint} {api} {json.dumps(model)} {code.name} {seconds * 1000:.2f} ms")

    return Server(
        loader,
        server_options(options, rest_by_default=rest_by_default),
        on_event=terminal.note,
        **({"on_access": log} if options["access_log"] else {}),
    )


def start(server: Server, configs: Sequence[ModelConfig]) -> None:
    """Load and answer, unless all there is fails to load."""
    from attnexport.serving.server import StatusError

    try:
        server.start(configs)
    except StatusError as error:
        raise ContentError(str(error)) from error
    manager = server.manager
    failed = [status for config in configs for status in manager.statuses(config.name) if status.message]
    if failed and not any(manager.served(config.name).available for config in configs):
        raise ContentError(f"nothing to serve: version {failed[0].version}: {failed[0].message}")


def _freeze(configs: Sequence[ModelConfig]) -> None:
    """Keep what is imported from being searched each time that a version is freed; before models, which would stay."""
    if any(config.artifact is None and any(config.base_path.glob("*/saved_model.pb*")) for config in configs):
        from attnexport.exporter import ServedSavedModel  # noqa: F401 - TensorFlow is most of it
    gc.collect()
    gc.freeze()


def _end(terminal: Terminal, server: Server) -> None:
    """Stop the server; where that is interrupted, or a call runs on, the command's end is the process's."""
    idle: list[bool] = []
    stopping = threading.Thread(target=lambda: idle.append(server.stop()), name="stop", daemon=True)
    try:
        stopping.start()
        while stopping.is_alive():
            stopping.join(_LOOK)  # an interrupt that another thread gets does not end it
    finally:
        if idle != [True]:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends now; another one would keep it from that
            click.get_current_context().call_on_close(lambda: _leave(terminal))


def _leave(terminal: Terminal) -> None:
    """End at once, as any command does: Python waits for calls, or frees under them what TensorFlow computes with."""
    error = sys.exception()

    def end() -> int:
        if error is None:
            return DONE
        if isinstance(error, click.exceptions.Exit):
            return error.exit_code
        raise error

    os._exit(run(end, as_json=terminal.json, debug=terminal.debug))


def _poll_seconds(options: dict[str, Any], export: str | None) -> float:
    """Between two looks at the configuration: its file, or what the export has come to hold."""
    key = "file_system_poll_wait_seconds" if export else "model_config_file_poll_wait_seconds"
    return max(0.0, float(options[key]))


def _warn(terminal: Terminal, options: dict[str, Any]) -> None:
    if options["host"] not in _LOOPBACK:
        what = "REST is without TLS" if options["ssl_config_file"] else "without TLS"
        terminal.note(f"warning: listening on {options['host']} {what}: anyone who reaches this port can ask")


def _document(server: Server, configs: Sequence[ModelConfig]) -> dict[str, Any]:
    manager = server.manager
    return {
        "grpc": server.address,
        "rest": server.rest_address,
        "models": [
            {
                "name": config.name,
                "base_path": str(config.base_path),
                "versions": [
                    {"version": status.version, "state": status.state.name, "error": status.message}
                    for status in manager.statuses(config.name)
                ],
            }
            for config in configs
        ],
    }


def _show(console: Console, server: Server, configs: Sequence[ModelConfig]) -> None:
    from rich.text import Text

    for edge, address in (("gRPC", server.address), ("REST", server.rest_address)):
        if address:
            console.print(Text(f"{edge}  {address}"), soft_wrap=True)
    width = max((len(config.name) for config in configs), default=0)
    for config in configs:
        states = ", ".join(
            f"version {status.version} {status.state.name}" for status in server.manager.statuses(config.name)
        )
        console.print(Text(f"  {config.name:<{width}}  {states or f'no versions yet in {config.base_path}'}"))
    lines = _lines(server, configs)
    if lines:
        console.print(Text("\nTry:"))
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def _lines(server: Server, configs: Sequence[ModelConfig]) -> list[str]:
    name = next((each.name for each in configs if server.manager.served(each.name).available), None)
    if name is None:
        return []
    found = []
    if server.address:
        found.append(shlex.join(["attnexport", "metadata", "--server", server.address, "--model", name]))
    if server.rest_address:
        found.append(shlex.join(["curl", f"{server.rest_address}/v1/models/{quote(name, safe='')}"]))
    return found
