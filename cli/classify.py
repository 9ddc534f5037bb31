"""`attnexport classify`: examples to a served model, and their classes back."""

from __future__ import annotations

from attnexport.core.limits import MAX_JSON_EXAMPLES
from attnexport.workflows import classify as workflow
from attnexport.workflows.connection import Connection

from .client_options import QueryCommand, connection_options, example_options, open_samples, version_options
from .command import command
from .terminal import Terminal


@command("classify", cls=QueryCommand, example="attnexport classify --model digits --samples features.json")
@connection_options
@version_options
@example_options("classify")
def classify(
    terminal: Terminal,
    connection: Connection,
    version: int | None,
    label: str | None,
    samples: str,
    signature: str | None,
    output: str | None,
) -> None:
    """Classify examples with a served model.

    FILE holds features by name: a .json with a list of objects or one list per feature, a .csv with their names in its
    first line (`x_0`, `x_1`… are the values of one feature `x`), or an .npz with one array per feature.
    """
    with terminal.working() as progress:
        result = workflow.classify(
            open_samples(samples, MAX_JSON_EXAMPLES),
            connection,
            version=version,
            label=label,
            signature=signature,
            output=output,
            progress=progress,
        )
    terminal.show(result)
