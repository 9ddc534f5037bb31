"""What every workflow returns: a typed result that a terminal, a notebook and a program each read in their own form."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

from attnexport.core.printable import printable
from attnexport.core.wording import worded

from .tables import Table, print_paragraph, print_table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Block", "Line", "Picture", "Result", "Table", "print_blocks"]

_TEXT_WIDTH = 200  # columns of `str(result)`, where no terminal gives a width


@dataclass(frozen=True)
class Line:
    """A line of text that is never wrapped, such as a path or a command to copy.

    Attributes:
        text: The text. Line breaks at its ends are empty lines, those within it are shown as characters of a name.
        is_program: Whether its line breaks are its own, as in a program.
    """

    text: str
    is_program: bool = False


@dataclass(frozen=True)
class Picture:
    """An SVG document, with a description for readers and terminals that show no pictures."""

    svg: str
    description: str


Block = str | Line | Table | Picture


class Result(ABC):
    """A result that prints as the command's own tables.

    Example:
        >>> class Sum(Result):
        ...     def to_dict(self):
        ...         return {"sum": 3}
        ...     def blocks(self):
        ...         return ["The sum is 3."]
        >>> print(Sum())
        The sum is 3.
        >>> print(Sum().to_json())
        {
          "sum": 3
        }
    """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values; docs/reference/json.md describes each command's."""

    @abstractmethod
    def blocks(self) -> Sequence[Block]:
        """The result as people read it, in order."""

    def to_json(self) -> str:
        """The result as one JSON document."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=_TEXT_WIDTH, color_system=None, force_terminal=False, highlight=False)
        with console.capture() as captured:
            print_blocks(console, _worded(self.blocks()))
        return "\n".join(line.rstrip() for line in captured.get().rstrip().split("\n"))

    def notebook_blocks(self) -> Sequence[Block]:
        """The result as a notebook shows it: with pictures, if there are any, which are drawn only here."""
        return self.blocks()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython shows in a terminal: the tables, not all the fields."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return "\n".join(map(_block_html, _worded(self.notebook_blocks())))


def _worded(blocks: Sequence[Block]) -> list[Block]:
    """The blocks with keywords in the place of options, other than in lines to copy."""
    words: list[Block] = []
    for block in blocks:
        if isinstance(block, Table):
            words.append(replace(block, columns=tuple(map(worded, block.columns))))
        else:
            words.append(worded(block) if isinstance(block, str) else block)
    return words


def print_blocks(console: Console, blocks: Sequence[Block]) -> None:
    """Print blocks on a rich console; text from models and servers is neither read as markup nor as control codes.

    Tables keep to the width of a terminal. Elsewhere each row is one line.
    """
    from rich.text import Text

    for block in blocks:
        if isinstance(block, Table):
            print_table(console, block, console.width if console.is_terminal else None)
        elif isinstance(block, Line):
            text = printable(block.text, "\n") if block.is_program else _on_one_line(block.text)
            console.print(Text(text), soft_wrap=True)
        elif isinstance(block, str):
            print_paragraph(console, _on_one_line(block), console.width)


def _on_one_line(text: str) -> str:
    """A text with empty lines around it; a name in it may hold a line break, and begins no line of its own."""
    inner = text.strip("\n")
    before, _, behind = text.partition(inner) if inner else (text, "", "")
    return f"{before}{printable(inner)}{behind}"


def _block_html(block: Block) -> str:
    if isinstance(block, Table):
        block = block.filled()
        titles = "".join(f"<th>{escape(title)}</th>" for title in block.columns)
        head = f"<thead><tr>{titles}</tr></thead>" if any(block.columns) else ""
        rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in block.rows)
        body = "".join(f"<tr>{cells}</tr>" for cells in rows)
        return f"<table>{head}<tbody>{body}</tbody></table>"
    if isinstance(block, Picture):
        # In an img of its own: ids of several SVG documents in one page would collide.
        source = f"data:image/svg+xml;base64,{base64.b64encode(block.svg.encode()).decode()}"
        return f'<img src="{source}" alt="{escape(block.description)}" style="max-width: 34rem">'
    text = block.text if isinstance(block, Line) else block
    return f"<p>{escape(text)}</p>" if text.strip() else ""
