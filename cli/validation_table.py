"""The verdicts of a validation as a table on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.parity import Validation


def show_verdicts(console: Console, export: Path, result: Validation, report: Path | None) -> None:
    """Print a table, those that failed first; runtimes in which a signature passed share a row, with their worst."""
    from rich.table import Table
    from rich.text import Text

    from attnexport.parity.summary import TITLES, summarize

    console.print(Text(f"{export}, against {result.reference}\n"))
    table = Table(box=None, pad_edge=False)
    for name in TITLES:
        table.add_column(name, overflow="fold")
    for row in summarize(result, joined=True):
        table.add_row(*map(Text, row.cells))
    console.print(table)
    if report is not None:
        console.print(Text(f"\nThe report is {report}"), soft_wrap=True)
