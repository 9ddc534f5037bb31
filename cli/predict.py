"""`attnexport predict`: samples to a served model, and its outputs back."""

from __future__ import annotations

import sys

import click

from attnexport.workflows import predict as workflow
from attnexport.workflows.connection import Connection

from .client_options import connection_options, version_options
from .command import command
from .terminal import Terminal


@command("predict", example="attnexport predict --model classifier --input samples.npz --output logits.npz")
@connection_options
@version_options
@click.option(
    "--input",
    "source",
    metavar="FILE|-",
    required=True,
    help="Samples: an .npz or .json file with one array per input, or an .npy file for a single input; - reads stdin.",
)
@click.option("--signature", default="serving_default", show_default=True, help="Signature to run.")
@click.option("--batch", type=int, help="Most samples in one call. [default: all]")
@click.option("--output", metavar="FILE.npz", help="Write the outputs to this file instead of showing them.")
def predict(
    terminal: Terminal,
    connection: Connection,
    version: int | None,
    label: str | None,
    source: str,
    signature: str,
    batch: int | None,
    output: str | None,
) -> None:
    """Query a model on TF Serving.

    Inputs are matched by name and checked with the server's own signature before they are sent.
    """
    with terminal.working() as progress:
        result = workflow.predict(
            sys.stdin.buffer.read() if source == "-" else source,
            connection,
            version=version,
            label=label,
            signature=signature,
            batch=batch,
            output=output,
            progress=progress,
        )
    for note in result.notes:
        terminal.note(note)
    terminal.show(result)
