"""Sizes as people read them."""

from __future__ import annotations


def kilobytes(size: int) -> str:
    """Bytes as `1,234 kB`, with a decimal below ten and in bytes below one.

    Example:
        >>> kilobytes(1_234_000), kilobytes(1_234), kilobytes(80)
        ('1,234 kB', '1.2 kB', '80 B')
    """
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.1f} kB" if size < 10_000 else f"{size / 1000:,.0f} kB"


def counted(count: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "artifact"), counted(12, "comparison")
        ('1 artifact', '12 comparisons')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
