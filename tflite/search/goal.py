"""The goal of a search, and the measurement of a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from attnexport.core.errors import ArgumentError
from attnexport.parity import Figures, Limits

SEARCHED = "auto"  # name of recipes found by a search, and of their files
OBJECTIVES = ("size", "latency")
DEFAULT_TRIALS = 200


@dataclass(frozen=True)
class Measurement:
    """A candidate, measured.

    Attributes:
        size_bytes: Size of its file.
        latency_ratio: Its median latency over float32's, from calls in turn; None if it was not measured.
        float_latency_ms: float32's median latency in the same calls.
        figures: Its worst output against the original; None if it has a problem.
        problem: Why it cannot be used; None if it can.
        min_column_sqnr_db: The SQNR in dB that each column must have by the budget of its precision.
    """

    size_bytes: int = 0
    latency_ratio: float | None = None
    float_latency_ms: float | None = None
    figures: Figures | None = None
    problem: str | None = None
    min_column_sqnr_db: float = -inf

    @property
    def column_sqnr_db(self) -> float:
        """The SQNR of its worst column, in dB; infinite if no column was judged."""
        columns = None if self.figures is None else self.figures.columns
        return inf if columns is None else columns.sqnr_db

    @property
    def latency_ms(self) -> float | None:
        """Its median latency in ms; None if it was not measured."""
        if self.latency_ratio is None or self.float_latency_ms is None:
            return None
        return self.latency_ratio * self.float_latency_ms

    @property
    def sqnr_db(self) -> float:
        """The SQNR of its worst output, in dB; minus infinity if it has a problem."""
        return -inf if self.figures is None else self.figures.sqnr_db

    def __str__(self) -> str:
        if self.problem or self.figures is None:
            return self.problem or "not measured"
        return f"{self.size_bytes:,} bytes, {self.figures}"

    def to_dict(self) -> dict[str, Any]:
        """The measurement as JSON values; an infinite figure is null."""
        figures = (self.figures or Figures(sqnr_db=-inf)).to_dict()
        return {
            "size_bytes": self.size_bytes,
            "sqnr_db": figures["sqnr_db"],
            "column_sqnr_db": None if not isfinite(self.column_sqnr_db) else self.column_sqnr_db,
            "latency_ratio": self.latency_ratio,
            "float_latency_ms": self.float_latency_ms,
            **{name: figures[name] for name in ("agreement", "accuracy", "reference_accuracy")},
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Goal:
    """The goal of a search: limits for what a candidate may lose, and what to minimize within them.

    Attributes:
        min_sqnr_db: Least SQNR, in dB.
        min_agreement: Least share of samples with the original's top-1 class, 0 to 1.
        max_accuracy_drop: Greatest loss of accuracy against the original, in percentage points.
        max_size: Bytes of the file at most.
        max_latency_ms: Median latency of a call in ms at most, on this machine and one thread.
        objective: What to minimize: `size`, or `latency` on this machine.

    Raises:
        ArgumentError: if no limit is given, or one is out of range.

    Example:
        >>> print(Goal(min_agreement=0.99, max_size=100_000))
        agreement 0.99 and at most 100,000 bytes
    """

    min_sqnr_db: float | None = None
    min_agreement: float | None = None
    max_accuracy_drop: float | None = None
    max_size: int | None = None
    objective: str = "size"
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        if self.min_sqnr_db is None and self.min_agreement is None and self.max_accuracy_drop is None:
            raise ArgumentError(
                "auto needs a limit for what may be lost, such as --min-agreement 0.99, --min-sqnr 30 or "
                "--max-accuracy-drop 0.5"
            )
        if self.max_latency_ms is not None and not 0 < self.max_latency_ms < inf:
            raise ArgumentError(f"max_latency must be a number of ms above 0; received {self.max_latency_ms}")
        Limits(min_sqnr_db=self.min_sqnr_db, min_agreement=self.min_agreement)
        if self.max_accuracy_drop is not None and not 0 <= self.max_accuracy_drop <= 100:
            raise ArgumentError(
                f"max_accuracy_drop must be 0 to 100 percentage points; received {self.max_accuracy_drop}"
            )

    def loses_too_much(self, measured: Measurement) -> float:
        """How far the losses exceed the limits, 0 if they do not. A dB counts as much as a percentage point.

        A column that is lost exceeds them whatever they are, as its samples may not show what it is for.
        """
        figures = measured.figures
        if measured.problem or figures is None:
            return inf
        least = measured.min_column_sqnr_db
        if self.min_sqnr_db is not None:
            least = min(least, self.min_sqnr_db)
        excess = max(0.0, least - measured.column_sqnr_db)
        if self.min_sqnr_db is not None:
            excess += max(0.0, self.min_sqnr_db - figures.sqnr_db)
        if self.min_agreement is not None:
            excess += 100 * max(0.0, self.min_agreement - (figures.agreement or 0.0))
        if self.max_accuracy_drop is not None:
            drop = figures.accuracy_drop
            excess += 100.0 if drop is None else max(0.0, drop - self.max_accuracy_drop)
        return excess

    def misses(self, measured: Measurement) -> float:
        """How far a candidate misses the goal; ten percent of size or latency too much count as much as a dB."""
        excess = 0.0 if self.max_size is None else max(0.0, measured.size_bytes / self.max_size - 1)
        if self.max_latency_ms is not None:
            latency = measured.latency_ms
            excess += 1.0 if latency is None else max(0.0, latency / self.max_latency_ms - 1)
        return self.loses_too_much(measured) + 10 * excess

    def met_by(self, measured: Measurement) -> bool:
        """Whether a candidate is within all limits."""
        return self.misses(measured) == 0

    def __str__(self) -> str:
        limits = []
        if self.min_sqnr_db is not None:
            limits.append(f"SQNR {self.min_sqnr_db:g} dB")
        if self.min_agreement is not None:
            limits.append(f"agreement {self.min_agreement:g}")
        if self.max_accuracy_drop is not None:
            limits.append(f"at most {self.max_accuracy_drop:g} points of accuracy lost")
        if self.max_size is not None:
            limits.append(f"at most {self.max_size:,} bytes")
        if self.max_latency_ms is not None:
            limits.append(f"at most {self.max_latency_ms:g} ms")
        return " and ".join(limits)
