"""What a validation found, as `attnexport validate` tells it: table, JSON document, exit code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import StorageError

from .boundary import CONTENT, GATE, NUMBERS
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.parity import Validation
    from attnexport.parity.report import ComparedData
    from attnexport.store import VersionEntry

    from .layers import Inside


@dataclass(frozen=True)
class Outcome:
    """A validation of a version, on which data, with notes, a sentence each.

    `inside` is what a look inside the artifacts found, where that was asked for; `report` is where that was written;
    `unwritten` says why it could not be.
    """

    export: Path
    entry: VersionEntry
    result: Validation
    data: ComparedData
    notes: tuple[str, ...]
    inside: Inside | None
    report: Path | None
    unwritten: StorageError | None

    def to_json(self) -> dict[str, Any]:
        """As docs/reference/json.md describes it."""
        return {
            "schema": 1,
            "name": self.export.absolute().name,
            "version": self.entry.version,
            "reference": self.result.reference,
            "data": vars(self.data),
            "passed": bool(self.result),
            "checks": [check.to_json() for check in self.result.checks],
            "notes": list(self.notes),
            "report": None if self.report is None else str(self.report),
            **({} if self.inside is None else {"layers": self.inside.to_json()}),
        }

    def show(self, console: Console) -> None:
        """Print a table, failures first; runtimes in which a signature passed share a row, with their worst figures."""
        from rich.table import Table
        from rich.text import Text

        from attnexport.parity.summary import TITLES, summarize

        from .layers import show_layers

        console.print(Text(f"{self.export}, against {self.result.reference} on {self.data.name}\n"))
        table = Table(box=None, pad_edge=False)
        for name in TITLES:
            table.add_column(name, overflow="fold")
        for row in summarize(self.result, joined=True):
            table.add_row(*map(Text, row.cells))
        console.print(table)
        if self.inside is not None:
            show_layers(console, self.inside)
        if self.report is not None:
            console.print(Text(f"\nThe report is {self.report}"), soft_wrap=True)

    def end(self, terminal: Terminal, failed_input: Path) -> None:
        """Say what went wrong, if anything, write its sample to `failed_input`, and exit with its code."""
        if self.unwritten is not None:
            terminal.problem(str(self.unwritten))
        if not self.result:
            _report_failure(terminal, self.result, failed_input)
            raise click.exceptions.Exit(NUMBERS if self.result.only_numbers_failed else GATE)
        if self.unwritten is not None:
            raise click.exceptions.Exit(CONTENT)


def _report_failure(terminal: Terminal, result: Validation, path: Path) -> None:
    import io

    import numpy as np

    from attnexport.core.os_errors import writing
    from attnexport.store.files import replacing

    first = result.failures[0]
    terminal.problem(f"{len(result.failures)} of {len(result.checks)} checks failed, the first: {first}")
    if first.offending:
        content = io.BytesIO()  # numpy would add a suffix to a temporary name
        np.savez(content, **first.offending)  # type: ignore[arg-type]
        try:
            with writing(path), replacing(path) as temporary:
                temporary.write_bytes(content.getvalue())
        except StorageError as error:  # the verdict is out, and stands
            terminal.problem(str(error))
        else:
            terminal.problem(f"the sample is in {path}; --evaluation {path} runs it again")
