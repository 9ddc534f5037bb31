"""`attnexport predict`: samples to a served model, and its outputs back."""

from __future__ import annotations

import click

from attnexport.core.limits import MAX_JSON_SAMPLES, MAX_PIPED_ARRAYS
from attnexport.workflows import predict as workflow
from attnexport.workflows.connection import Connection

from .client_options import QueryCommand, connection_options, open_samples, version_options
from .command import command
from .terminal import Terminal


@command(
    "predict",
    cls=QueryCommand,
    example="attnexport predict --model classifier --samples samples.npz --output out.csv",
    renamed={"--input": "--samples", "--batch": "--max-batch"},
)
@connection_options
@version_options
@click.option(
    "--samples",
    metavar="FILE|-",
    required=True,
    help="An .npz or .json with one array per input, or an .npy for a single input; - reads stdin.",
)
@click.option("--signature", metavar="NAME", default="serving_default", show_default=True, help="Signature to run.")
@click.option("--max-batch", type=int, metavar="N", help="Most samples in one call. [all]")
@click.option("--output", metavar="FILE", help="Write the outputs to this .npz, .json or .csv instead.")
def predict(
    terminal: Terminal,
    connection: Connection,
    version: int | None,
    label: str | None,
    samples: str,
    signature: str,
    max_batch: int | None,
    output: str | None,
) -> None:
    """Query a model on TF Serving.

    Inputs are matched by name and checked with the server's own signature before they are sent.
    """
    with terminal.working() as progress:
        result = workflow.predict(
            open_samples(samples, MAX_JSON_SAMPLES, MAX_PIPED_ARRAYS),
            connection,
            version=version,
            label=label,
            signature=signature,
            batch=max_batch,
            output=output,
            progress=progress,
        )
    for note in result.notes:
        terminal.note(note)
    terminal.show(result)
