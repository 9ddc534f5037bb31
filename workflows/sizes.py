"""Sizes as people read them."""

from __future__ import annotations


def kilobytes(size: int) -> str:
    """Bytes as `1,234 kB`."""
    return f"{size / 1000:,.0f} kB"
