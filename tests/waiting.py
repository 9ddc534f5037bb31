"""Waiting in tests for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(holds: Callable[[], T], seconds: float = 60.0) -> T:
    """The first true value of a function that is called again and again.

    Args:
        holds: What is to hold.
        seconds: After which it is a failure; far more than it takes, since a busy machine is slow.

    Raises:
        AssertionError: if it never held.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := holds():
            return value
        time.sleep(0.01)
    raise AssertionError(f"it did not hold within {seconds:g} s")
