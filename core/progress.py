"""How a long computation reports its progress."""

from __future__ import annotations

import sys
from typing import Protocol

_COLUMNS = 79  # that a line of `show_progress` fills, so that nothing of the one before is left


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


def show_progress(message: str, /, *, done: int = 0, total: int | None = None) -> None:
    """A Progress for notebooks and terminals: one line on stdout, which the next step takes the place of.

    Example:
        >>> show_progress("comparing", done=2, total=8)  # doctest: +SKIP
        comparing 2 of 8…
    """
    count = "" if total is None else f" {done} of {total}"
    text = f"{message}{count}…"
    sys.stdout.write(f"\r{text[:_COLUMNS]:<{_COLUMNS}}")
    sys.stdout.flush()
