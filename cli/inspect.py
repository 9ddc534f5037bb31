"""`attnexport inspect`: what an artifact holds."""

from __future__ import annotations

import click

from attnexport.workflows import inspect as workflow

from .command import command
from .terminal import Terminal


@command("inspect", example="attnexport inspect export/classifier/tflite/1/classifier.int8.tflite")
@click.argument("artifact")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Module that registers your own layers.")
def inspect(terminal: Terminal, artifact: str, imports: tuple[str, ...]) -> None:
    """Show what an artifact holds.

    ARTIFACT is a .tflite, a SavedModel directory, a .keras file or an export directory. A .tflite shows its signatures,
    operators, sizes by type, and what the XNNPACK delegate takes.
    """
    with terminal.working() as progress:
        result = workflow.inspect(artifact, imports=imports, progress=progress)
    terminal.show(result)
