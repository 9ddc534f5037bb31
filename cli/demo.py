"""`attnexport demo`: the whole way on real data, in one command."""

from __future__ import annotations

from pathlib import Path

import click

from attnexport.core.process import import_away
from attnexport.workflows import demo as workflow

from .command import command
from .outcome import end
from .terminal import Terminal


@command("demo", example="attnexport demo --output attnexport-demo")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    default="attnexport-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Directory where everything is written.",
)
def demo(terminal: Terminal, output: Path) -> None:
    """Train on real digits, export, quantize, compare, serve.

    Trains two attention models on scikit-learn's handwritten digits, exports them for TensorFlow Serving and TFLite,
    measures and validates what was exported, and serves it.
    """
    terminal.silence_exit()
    import_away("matplotlib")
    with terminal.working() as progress:
        result = workflow.demo(output, progress=progress)
    for note in result.notes:
        terminal.note(note)
    terminal.show(result)
    for validation in result.validated.values():
        end(terminal, validation, output / "validate-failed.npz")
