"""Tables and paragraphs as text: columns as wide as their words, and no word cut in two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from attnexport.core.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_MOST_LINES = 3  # that a line of a cell takes
_GAP = 2  # columns of space between two columns of a table
_SPACE = re.compile(r" (?!(?:dB|kB|MB|B|ms|s)\b)(?![^\[\]]*\])")  # a number stays beside its unit, a shape whole
_STYLES = {
    "passed": "green",
    "FAILED": "red",
    "AVAILABLE": "green",
    "CHANGED": "red",
    "GONE": "red",
    "reported": "yellow",
}


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        columns: Titles; all empty for rows of a name and a value, which are shown without titles.
        rows: Cells of each row, one for each title.
        right: Titles of the columns of numbers, which are aligned on the right.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()

    def filled(self) -> Table:
        """The table without titled columns whose cells are all empty.

        Example:
            >>> Table(("name", "error"), [("a", ""), ("b", "")]).filled().columns
            ('name',)
        """
        kept = [
            number for number, title in enumerate(self.columns) if not title or any(row[number] for row in self.rows)
        ]
        return replace(
            self,
            columns=tuple(self.columns[number] for number in kept),
            rows=[tuple(row[number] for number in kept) for row in self.rows],
        )


def print_table(console: Console, table: Table, width: int | None) -> None:
    """Print a table in at most `width` columns, or as wide as it is if None.

    If not even its words fit side by side, or some would be a column of words, each row becomes a paragraph: the cell
    that names it, then the titles with their cells.
    """
    from rich.text import Text

    table = table.filled()
    table = replace(table, rows=[tuple(printable(cell, "\n") for cell in row) for row in table.rows])
    has_titles = any(table.columns)
    rows = [tuple(table.columns), *table.rows] if has_titles else list(table.rows)
    columns = list(zip(*rows, strict=True))
    numeric = [title in table.right for title in table.columns]
    widths = _widths(columns, numeric, width)
    if (
        widths
        and has_titles
        and any(_is_column_of_words(cell, size) for row in table.rows for cell, size in zip(row, widths, strict=True))
    ):
        widths = None
    if widths is None and has_titles:
        for row in table.rows:
            for line in _paragraph(*_named_first(table, row), width or 0):
                console.print(line, soft_wrap=True)
        return
    if widths is None:  # names and values: a value takes the rest of the line, or more if one word needs it
        names = max(map(_cells, columns[0]))
        widths = [names, max(20, (width or 0) - names - _GAP)]
    for row in rows:
        cells = [_wrapped(cell, size) for cell, size in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            line = Text()
            for each, cell, size, is_number in zip(cells, row, widths, numeric, strict=True):
                text = each[number] if number < len(each) else ""
                space = " " * (size - _cells(text))
                line.append(space if is_number else "")
                line.append(text, _style(cell))
                line.append(("" if is_number else space) + " " * _GAP)
            line.rstrip()
            console.print(line, soft_wrap=True)


def _is_column_of_words(cell: str, size: int) -> bool:
    """Whether a cell is so narrow that a paragraph reads better."""
    return len(_wrapped(cell, size)) > cell.count("\n") + _MOST_LINES


def print_paragraph(console: Console, text: str, width: int) -> None:
    """Print a paragraph; a word that is longer than a line, such as a path, stays whole."""
    from rich.text import Text

    for line in _wrapped(text, width):
        console.print(Text(line), soft_wrap=True)


def _widths(columns: Sequence[Sequence[str]], numeric: Sequence[bool], width: int | None) -> list[int] | None:
    """The width of each column; None if the longest words need more than there is."""
    widths = [max(_cells(line) for cell in column for line in cell.split("\n")) for column in columns]
    if width is None:
        return widths
    least = []
    for column, is_number, most in zip(columns, numeric, widths, strict=True):
        longest = max(_cells(word) for cell in column for word in _words(cell))
        # A number is not broken, but the title above it may be.
        least.append(max([longest, *map(_cells, column[1:])]) if is_number else min(longest, most))
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    if sum(widths) - sum(least) < excess:
        return None
    while excess > 0:
        shrinkable = (number for number in range(len(widths)) if widths[number] > least[number])
        widths[max(shrinkable, key=widths.__getitem__)] -= 1
        excess -= 1
    return widths


def _named_first(table: Table, row: Sequence[str]) -> tuple[list[str], list[str]]:
    """Titles and cells with the first that is not a number before the others: it names the row."""
    name = next((number for number, title in enumerate(table.columns) if title not in table.right), 0)
    order = [name, *(number for number in range(len(row)) if number != name)]
    return [table.columns[number] for number in order], [row[number] for number in order]


def _paragraph(titles: Sequence[str], row: Sequence[str], width: int) -> Iterator[Text]:
    """A row as a line of its first cell, and indented lines of titles with the other cells."""
    from rich.text import Text

    yield Text(row[0], _style(row[0]))
    line = Text(" ")
    for title, cell in list(zip(titles, row, strict=True))[1:]:
        if not cell:
            continue
        text = f"{title} {' '.join(cell.split())}".strip()
        if line.plain.strip() and line.cell_len + _cells(text) + 2 > width:
            yield line
            line = Text(" ")
        line.append(("  " if line.plain.strip() else " ") + text, _style(cell))
    if line.plain.strip():
        yield line


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of whole words."""
    lines = []
    for paragraph in text.split("\n"):
        if _cells(paragraph) <= width:
            lines.append(paragraph)
            continue
        line = ""
        for word in _SPACE.split(paragraph):
            longer = f"{line} {word}" if line else word
            if line and _cells(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def _words(cell: str) -> list[str]:
    return [word for line in cell.split("\n") for word in _SPACE.split(line)]


def _style(cell: str) -> str:
    return _STYLES.get(cell.partition(" ")[0], "")


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
