"""`attnexport regress`: examples to a served model, and a number for each back."""

from __future__ import annotations

from attnexport.core.limits import MAX_JSON_EXAMPLES
from attnexport.workflows import regress as workflow
from attnexport.workflows.connection import Connection

from .client_options import QueryCommand, connection_options, example_options, open_samples, version_options
from .command import command
from .terminal import Terminal


@command("regress", cls=QueryCommand, example="attnexport regress --model prices --samples houses.csv")
@connection_options
@version_options
@example_options("regress")
def regress(
    terminal: Terminal,
    connection: Connection,
    version: int | None,
    label: str | None,
    samples: str,
    signature: str | None,
    output: str | None,
) -> None:
    """Compute a number per example with a served model.

    FILE holds features by name: a .json with a list of objects or one list per feature, a .csv with their names in its
    first line (`x_0`, `x_1`… are the values of one feature `x`), or an .npz with one array per feature.
    """
    with terminal.working() as progress:
        result = workflow.regress(
            open_samples(samples, MAX_JSON_EXAMPLES),
            connection,
            version=version,
            label=label,
            signature=signature,
            output=output,
            progress=progress,
        )
    terminal.show(result)
