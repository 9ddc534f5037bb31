"""What a long computation says of itself while it runs."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with what is being done now, and how much of it is done where that can be counted.

    Example:
        >>> def show(message: str, /, *, done: int = 0, total: int | None = None) -> None:
        ...     print(message if total is None else f"{message}: {done} of {total}")
        >>> show("comparing", done=2, total=8)
        comparing: 2 of 8
    """

    def __call__(self, message: str, /, *, done: int = 0, total: int | None = None) -> None: ...


def silent(message: str, /, *, done: int = 0, total: int | None = None) -> None:
    """The Progress that nobody sees."""
