"""How a long computation reports its progress."""

from __future__ import annotations

import sys
from typing import Any, Protocol

_COLUMNS = 79  # that a line of `show_progress` fills, so that nothing of the one before is left
_displays: dict[int, Any] = {}  # what shows the progress of a notebook's cell, by the cell's number


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
    """A Progress for notebooks and terminals: one line, which the next step takes the place of.

    Example:
        >>> show_progress("comparing", done=2, total=8)  # doctest: +SKIP
        comparing 2 of 8…
    """
    count = "" if total is None else f" {done} of {total}"
    text = f"{message}{count}…"
    if _shown_in_notebook(text):
        return
    sys.stdout.write(f"\r{text[:_COLUMNS]:<{_COLUMNS}}")
    sys.stdout.flush()


def _shown_in_notebook(text: str) -> bool:
    """Show the text in the cell that runs, in place of what was shown there before; false outside of a notebook.

    A carriage return would not do: each line that a library prints in between would leave one of ours behind.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return False
    from IPython.display import display

    cell, data = shell.execution_count, {"text/plain": text}
    if cell in _displays:
        _displays[cell].update(data, raw=True)
    else:
        _displays.clear()
        _displays[cell] = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    return True
