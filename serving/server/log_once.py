"""What is wrong for many looks, said once."""

from __future__ import annotations

from collections.abc import Callable


class RepeatFilter:
    """Says what a look finds wrong, and not again before a look that finds it right.

    Args:
        tell: Told in words.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._before: set[str] = set()
        self._now: set[str] = set()

    def begin(self) -> None:
        """A look begins."""
        self._before, self._now = self._now, set()

    def say(self, text: str) -> None:
        """That something is wrong, in words that are the same each time."""
        self._now.add(text)
        if text not in self._before:
            self._tell(text)
