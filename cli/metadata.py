"""`attnexport metadata`: the signatures of a served model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .client_options import client_options, connect, version_options
from .command import command
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.serving import ModelMetadata


@command("metadata", example="attnexport metadata --server 127.0.0.1:8500 --model classifier")
@client_options
@version_options
def metadata(terminal: Terminal, **options: Any) -> None:
    """Show the signatures of a served model.

    What each takes and gives: names, dtypes and shapes.
    """
    with terminal.steps() as on_step, connect(options) as client:
        on_step(f"asking {options['servers'][0]}")
        found = client.metadata(version=options["version"], label=options["label"])
    document = {
        "model": found.model,
        "version": found.version,
        "signatures": [asdict(signature) for signature in found.signatures.values()],
    }
    terminal.result(document, lambda console: _show(console, found))


def _show(console: Console, found: ModelMetadata) -> None:
    from rich.table import Table
    from rich.text import Text

    version = "" if found.version is None else f" version {found.version}"
    console.print(Text(f"{found.model}{version}\n"))
    table = Table(box=None, pad_edge=False)
    for title in ("signature", "method", "takes", "gives"):
        table.add_column(title, overflow="fold")
    for signature in found.signatures.values():
        inputs, outputs = ("\n".join(map(str, specs)) for specs in (signature.inputs, signature.outputs))
        table.add_row(*map(Text, (signature.name, signature.method, inputs, outputs)))
    console.print(table)
