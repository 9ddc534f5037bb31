"""`attnexport status`: the versions of a served model, and their states."""

from __future__ import annotations

import click

from attnexport.workflows import status as workflow
from attnexport.workflows.connection import Connection

from .client_options import connection_options
from .command import command
from .terminal import Terminal


@command("status", example="attnexport status --server 127.0.0.1:8500 --model classifier --wait")
@connection_options
@click.option("--version", type=click.IntRange(0), help="Only this version. [all]")
@click.option("--wait", is_flag=True, help="Wait until a version is AVAILABLE, for --timeout seconds at most.")
def status(terminal: Terminal, connection: Connection, version: int | None, wait: bool) -> None:
    """Show which versions of a model are served.

    A version is START, LOADING, AVAILABLE, UNLOADING or END. A version that failed to load is END, with its error.
    """
    with terminal.working() as progress:
        result = workflow.status(connection, version=version, wait=wait, progress=progress)
    terminal.show(result)
