"""`attnexport status`: the versions of a served model, and their states."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .client_options import client_options, connect
from .command import command
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.serving import VersionStatus


@command("status", example="attnexport status --server 127.0.0.1:8500 --model classifier --wait")
@client_options
@click.option("--version", type=click.IntRange(0), help="Only this version. [all]")
@click.option("--wait", is_flag=True, help="Wait until a version is AVAILABLE, for --timeout seconds at most.")
def status(terminal: Terminal, **options: Any) -> None:
    """Show which versions of a model are served.

    A version is START, LOADING, AVAILABLE, UNLOADING or END; one that failed to load is END with its error.
    """
    with terminal.steps() as on_step, connect(options) as client:
        on_step(f"asking {options['servers'][0]}")
        if options["wait"]:
            client.wait_until_ready(version=options["version"])
        states = client.status(version=options["version"])
    document = {"model": options["model"], "versions": [asdict(each) for each in states]}
    terminal.result(document, lambda console: _show(console, states))


def _show(console: Console, states: list[VersionStatus]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("version", "state", "error"):
        table.add_column(title, overflow="fold")
    for each in states:
        table.add_row(str(each.version), each.state, Text(each.error))
    console.print(table)
