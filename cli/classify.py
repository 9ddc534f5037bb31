"""`attnexport classify`: examples to a served model, and their classes back."""

from __future__ import annotations

import sys

from attnexport.workflows import classify as workflow
from attnexport.workflows.connection import Connection

from .client_options import connection_options, example_options, version_options
from .command import command
from .terminal import Terminal


@command("classify", example="attnexport classify --model digits --samples features.json")
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
            sys.stdin.buffer.read() if samples == "-" else samples,
            connection,
            version=version,
            label=label,
            signature=signature,
            output=output,
            progress=progress,
        )
    terminal.show(result)
