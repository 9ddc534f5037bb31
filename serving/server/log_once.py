"""A log that does not repeat a problem found by many scans in a row."""

from __future__ import annotations

from collections.abc import Callable


class RepeatFilter:
    """Logs a problem when a scan first finds it, and again only after a scan that did not find it.

    Args:
        on_event: Called with the text of a problem.

    Example:
        >>> log = RepeatFilter(print)
        >>> for _ in range(2):
        ...     log.begin()
        ...     log.say("the disk is full")
        the disk is full
    """

    def __init__(self, on_event: Callable[[str], None]) -> None:
        self._on_event = on_event
        self._before: set[str] = set()
        self._now: set[str] = set()

    def begin(self) -> None:
        """Begin a scan."""
        self._before, self._now = self._now, set()

    def say(self, text: str) -> None:
        """Report a problem of this scan, in the same words each time."""
        self._now.add(text)
        if text not in self._before:
            self._on_event(text)
