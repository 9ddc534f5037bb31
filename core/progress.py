"""How a long computation reports its progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with the current step, and how much of it is done if that can be counted.

    Example:
        >>> def show(message: str, /, *, done: int = 0, total: int | None = None) -> None:
        ...     print(message if total is None else f"{message}: {done} of {total}")
        >>> show("comparing", done=2, total=8)
        comparing: 2 of 8
    """

    def __call__(self, message: str, /, *, done: int = 0, total: int | None = None) -> None: ...


def silent(message: str, /, *, done: int = 0, total: int | None = None) -> None:
    """A Progress that shows nothing."""
