"""`attnexport serve`: the embedded server."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from attnexport.workflows.serve_settings import Port, ServeSettings

from .boundary import DONE, run
from .command import command
from .serve_flags import PortType, ServeCommand, serve_flags
from .terminal import Terminal

if TYPE_CHECKING:
    from attnexport.workflows.served import EmbeddedServer

_PORT, _REST_PORT = 8500, 8501
_JOIN_SECONDS = 0.5  # between checks for an interrupt while the server stops


@command(
    "serve",
    cls=ServeCommand,
    example="""
    attnexport serve export/classifier --port 8500 --rest_api_port auto
    attnexport serve model.keras
    attnexport serve --model_base_path /models/digits --model_name digits
    """,
)
@click.argument("export", required=False)
@click.version_option(package_name="attnexport", message="attnexport %(version)s")
@click.option(
    "--port",
    type=PortType(),
    metavar="N|auto",
    default=_PORT,
    show_default=True,
    help="gRPC port; 0 for none (see --grpc_socket_path).",
)
@click.option(
    "--rest_api_port",
    type=PortType(),
    metavar="N|auto",
    help="REST port; 0 turns REST off. [8501 with EXPORT, else 0]",
)
@click.option(
    "--import",
    "imports",
    metavar="MODULE",
    multiple=True,
    help="Module that registers operators of your models; repeatable.",
)
@click.option("--access_log", is_flag=True, help="Print one line per request on stderr.")
@serve_flags
def serve(
    terminal: Terminal,
    settings: ServeSettings,
    ignored: tuple[str, ...],
    export: str | None,
    port: Port,
    rest_api_port: Port | None,
    imports: tuple[str, ...],
    access_log: bool,
) -> None:
    """Serve models as TF Serving does.

    EXPORT is an export directory, or a directory of them: its SavedModel is served under its name, each .tflite under
    NAME.RECIPE. It may also be a .keras file, which is exported to a temporary place first, or a .tflite, served under
    the file's name. Without EXPORT, use tensorflow_model_server's flags, with underscores or dashes.
    """
    from attnexport.workflows import serve as workflow

    for name in ignored:
        terminal.note(f"--{name} has no effect in the embedded server")
    if rest_api_port is None and export is not None:
        rest_api_port = _REST_PORT
    # SIGTERM is caught from before the models load until the server has drained.
    with _sigterm() as wait, contextlib.ExitStack() as stack:
        with terminal.working() as progress:
            server = workflow.serve(
                export,
                port=port,
                rest_port=rest_api_port or None,
                settings=settings,
                imports=imports,
                on_event=terminal.note,
                on_access=terminal.log if access_log else None,
                progress=progress,
            )
            stack.callback(_close, terminal, server)
            server.start(progress, own_process=True)
        terminal.show(server.state())
        wait()


@contextlib.contextmanager
def _sigterm() -> Iterator[Callable[[], None]]:
    """A function that waits for SIGTERM.

    The signal itself writes to a pipe, whichever thread it interrupts: Python's handler would have to wait for the main
    thread, which waits here. An Event could be locked for good by the very thread that waits for it.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handler = signal.signal(signal.SIGTERM, lambda number, frame: None)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def wait() -> None:
        while True:
            select.select([reader], [], [])
            if signal.SIGTERM in os.read(reader, 512):
                return

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, handler)
        os.close(reader)
        os.close(writer)


def _close(terminal: Terminal, server: EmbeddedServer) -> None:
    """Stop the server; if that is interrupted, or a request never ends, end the process with the command."""
    ended: list[bool] = []
    stopping = threading.Thread(target=lambda: ended.append(server.close()), name="stop", daemon=True)
    try:
        stopping.start()
        while stopping.is_alive():
            stopping.join(_JOIN_SECONDS)  # an interrupt that another thread receives does not end it
    finally:
        if ended != [True]:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process ends anyway; another interrupt would prevent it
            click.get_current_context().call_on_close(lambda: _exit(terminal))


def _exit(terminal: Terminal) -> None:
    """End the process at once: Python would wait for requests, or free memory that TensorFlow still computes with."""
    error = sys.exception()

    def end() -> int:
        if error is None:
            return DONE
        if isinstance(error, click.exceptions.Exit):
            return error.exit_code
        raise error

    os._exit(run(end, as_json=terminal.json, debug=terminal.debug))
