"""`attnexport inspect`: what an artifact holds."""

from __future__ import annotations

import click

from attnexport.workflows import inspect as workflow
from attnexport.workflows.choices import LANGUAGES
from attnexport.workflows.snippet import snippet as write_snippet

from .command import Choice, command
from .terminal import Terminal


@command(
    "inspect",
    example="""
    attnexport inspect export/classifier/tflite/1/classifier.int8.tflite
    attnexport inspect classifier.int8.tflite --snippet kotlin
    """,
)
@click.argument("artifact")
@click.option(
    "--snippet",
    type=Choice("language", LANGUAGES),
    metavar="LANGUAGE",
    help=f"Print code that loads and runs this .tflite: {', '.join(LANGUAGES)}.",
)
@click.option("--node-data", metavar="FILE.json", help="Write what the delegate takes, for Model Explorer to colour.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Module that registers your own layers.")
def inspect(
    terminal: Terminal, artifact: str, snippet: str | None, node_data: str | None, imports: tuple[str, ...]
) -> None:
    """Show what an artifact holds.

    ARTIFACT is a .tflite, a SavedModel directory, a .keras file or an export directory. A .tflite shows its signatures,
    operators, sizes by type, and what the XNNPACK delegate takes.
    """
    if snippet is not None:
        terminal.show(write_snippet(artifact, snippet))
        return
    with terminal.working() as progress:
        result = workflow.inspect(artifact, imports=imports, node_data=node_data, progress=progress)
    terminal.show(result)
