"""`attnexport status`: the versions of a served model, and their states."""

from __future__ import annotations

import click

from attnexport.core.errors import ArgumentError
from attnexport.workflows import status as workflow
from attnexport.workflows.connection import Connection
from attnexport.workflows.listing import list_models
from attnexport.workflows.result import Result

from .client_options import QueryCommand, server_options
from .command import command
from .terminal import Terminal


@command("status", cls=QueryCommand, example="attnexport status --server 127.0.0.1:8500 --model classifier --wait")
@server_options
@click.option("--version", metavar="N", type=click.IntRange(0), help="Only this version. [all]")
@click.option("--wait", is_flag=True, help="Wait until a version is AVAILABLE, for --timeout seconds at most.")
def status(terminal: Terminal, connection: Connection, version: int | None, wait: bool) -> None:
    """Show which versions of a model are served.

    Without --model, an embedded server lists what it has.

    A version is START, LOADING, AVAILABLE, UNLOADING or END. A version that failed to load is END, with its error.
    """
    if not connection.model and (wait or version is not None):
        raise ArgumentError(
            f"{'--wait' if wait else '--version'} needs --model, the name that the model is served under"
        )
    with terminal.working() as progress:
        result: Result = (
            workflow.status(connection, version=version, wait=wait, progress=progress)
            if connection.model
            else list_models(connection, progress=progress)
        )
    terminal.show(result)
