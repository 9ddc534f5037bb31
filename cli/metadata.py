"""`attnexport metadata`: the signatures of a served model."""

from __future__ import annotations

from attnexport.workflows import metadata as workflow
from attnexport.workflows.connection import Connection

from .client_options import QueryCommand, connection_options, version_options
from .command import command
from .terminal import Terminal


@command("metadata", cls=QueryCommand, example="attnexport metadata --server 127.0.0.1:8500 --model classifier")
@connection_options
@version_options
def metadata(terminal: Terminal, connection: Connection, version: int | None, label: str | None) -> None:
    """Show the signatures of a served model.

    For each signature: the names, dtypes and shapes of its inputs and outputs.
    """
    with terminal.working() as progress:
        result = workflow.metadata(connection, version=version, label=label, progress=progress)
    terminal.show(result)
