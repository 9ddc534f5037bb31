"""`attnexport list`: the exports below a directory, or the models of a server."""

from __future__ import annotations

import click

from attnexport.core.errors import ArgumentError
from attnexport.workflows import listing as workflow
from attnexport.workflows.connection import Connection
from attnexport.workflows.result import Result

from .client_options import QueryCommand, optional_server_options
from .command import command
from .terminal import Terminal


@command(
    "list",
    cls=QueryCommand,
    example="""
    attnexport list
    attnexport list --server 127.0.0.1:8500
    """,
)
@click.argument("directory", required=False)
@optional_server_options
def list_(terminal: Terminal, connection: Connection | None, directory: str | None) -> None:
    """List exports, or the models of a server.

    Lists the exports in DIRECTORY and two levels below it, with their versions and what the newest one holds. With
    --server, lists the models of an embedded server. TensorFlow Serving has no call for that; `attnexport status` shows
    one model of any server.
    """
    if connection is not None and directory is not None:
        raise ArgumentError("give DIRECTORY or --server, not both")
    with terminal.working() as progress:
        result: Result = (
            workflow.list_exports(directory or ".", progress=progress)
            if connection is None
            else workflow.list_models(connection, progress=progress)
        )
    terminal.show(result)
