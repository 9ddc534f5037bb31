"""The figures of an output's columns: what one figure of the whole hides."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any


@dataclass(frozen=True)
class Columns:
    """How far the columns of an output are from the original's, along one axis.

    Attributes:
        axis: The axis of the worst column: the output's last, or 1 if the worst is there.
        count: Number of columns.
        judged: How many were judged.
        worst: The judged column that is farthest from the original's; None if none was judged.
        sqnr_db: Its SQNR in dB, with its mean taken out: infinite if nothing differs, or if none was judged.
        variation: Its standard deviation over its greatest magnitude; 1 if it is constant.
        on_last_axis: Whether the worst column is one of the last axis.
        label: Its name; None without labels.
        output: Its output, where the worst of several outputs is shown; None elsewhere.
        not_judged: Reasons why columns were not judged, and how many each.
        masked: Number of masked values that were set apart.
        masked_otherwise: How many values are masked in one of both and not in the other.
        padded: Number of steps that are all zeros and were set apart.
    """

    axis: int
    count: int
    judged: int
    worst: int | None
    sqnr_db: float
    variation: float = 1.0
    on_last_axis: bool = True
    label: str | None = None
    output: str | None = None
    not_judged: tuple[tuple[str, int], ...] = ()
    masked: int = 0
    masked_otherwise: int = 0
    padded: int = 0

    @property
    def place(self) -> str:
        """The worst column as people read it: `column 3 (cat) of 'scores'`; empty if none was judged."""
        if self.worst is None:
            return ""
        name = column_name(self.worst, self.axis, self.on_last_axis, self.label)
        return name if self.output is None else f"{name} of {self.output!r}"

    @property
    def not_judged_count(self) -> int:
        """How many columns of the last axis were not judged."""
        return self.count - self.judged

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; `sqnr_db` is null if nothing differs, or if no column was judged."""
        return {
            "count": self.count,
            "judged": self.judged,
            "not_judged": dict(self.not_judged),
            "worst": self.worst,
            "axis": self.axis,
            "place": self.place or None,
            "sqnr_db": self.sqnr_db if isfinite(self.sqnr_db) else None,
            "masked": self.masked,
            "masked_otherwise": self.masked_otherwise,
            "padded": self.padded,
        }

    @property
    def why_not_judged(self) -> str:
        """How many columns of the last axis were not judged, and why: `3 of 10 columns not judged: 3 constant`."""
        if not self.not_judged:
            return ""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.not_judged)
        return f"{self.not_judged_count} of {self.count} columns not judged: {reasons}"


def column_name(number: int, axis: int, on_last_axis: bool = True, label: str | None = None) -> str:
    """A column as people read it.

    Example:
        >>> column_name(3, 1, label="cat"), column_name(5, 1, on_last_axis=False)
        ('column 3 (cat)', 'column 5 of axis 1')
    """
    named = "" if label is None else f" ({label})"
    return f"column {number}{named}" if on_last_axis else f"column {number} of axis {axis}"


@dataclass(frozen=True)
class Beyond:
    """A column with an error above a relative one of its own scale.

    Attributes:
        place: The column as people read it.
        error: Its greatest error, in the output's unit.
        allowed: The relative error of its scale.
        moved: The original's own change there if its inputs move, in the output's unit.
    """

    place: str
    error: float
    allowed: float
    moved: float
