"""The goal of a search, and the measurement of a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from attnexport.core.errors import ArgumentError
from attnexport.parity import Figures, Limits

SEARCHED = "auto"  # what recipes of a search, and their files, are called
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
    """

    size_bytes: int = 0
    latency_ratio: float | None = None
    float_latency_ms: float | None = None
    figures: Figures | None = None
    problem: str | None = None

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
            "latency_ratio": self.latency_ratio,
            "float_latency_ms": self.float_latency_ms,
            **{name: figures[name] for name in ("agreement", "accuracy", "reference_accuracy")},
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Goal:
    """What may be lost, and what is wanted for it.

    Attributes:
        min_sqnr_db: The least SQNR in dB.
        min_agreement: The least share of samples with the original's top-1 class, 0 to 1.
        max_accuracy_drop: The most that accuracy may fall below the original's, in percent points.
        max_size: The most bytes of the file.
        objective: What is to be small: `size`, or `latency` on this machine.

    Raises:
        ArgumentError: if nothing says what may be lost, or a figure is out of its bounds.
    """

    min_sqnr_db: float | None = None
    min_agreement: float | None = None
    max_accuracy_drop: float | None = None
    max_size: int | None = None
    objective: str = "size"

    def __post_init__(self) -> None:
        if self.min_sqnr_db is None and self.min_agreement is None and self.max_accuracy_drop is None:
            raise ArgumentError(
                "auto must know what may be lost: give --min-agreement 0.99, --min-sqnr 30 or --max-accuracy-drop 0.5"
            )
        Limits(min_sqnr_db=self.min_sqnr_db, min_agreement=self.min_agreement)
        if self.max_accuracy_drop is not None and not 0 <= self.max_accuracy_drop <= 100:
            raise ArgumentError(f"max_accuracy_drop is 0 to 100 percent points; received {self.max_accuracy_drop}")

    def loses_too_much(self, measured: Measurement) -> float:
        """How far the losses exceed what is allowed, 0 if they do not: a dB counts as much as a percentage point."""
        figures = measured.figures
        if measured.problem or figures is None:
            return inf
        excess = 0.0
        if self.min_sqnr_db is not None:
            excess += max(0.0, self.min_sqnr_db - figures.sqnr_db)
        if self.min_agreement is not None:
            excess += 100 * max(0.0, self.min_agreement - (figures.agreement or 0.0))
        if self.max_accuracy_drop is not None:
            drop = figures.accuracy_drop
            excess += 100.0 if drop is None else max(0.0, drop - self.max_accuracy_drop)
        return excess

    def misses(self, measured: Measurement) -> float:
        """As `loses_too_much`; ten percent of size beyond the limit counts as much as a dB."""
        excess = 0.0 if self.max_size is None else max(0.0, measured.size_bytes / self.max_size - 1)
        return self.loses_too_much(measured) + 10 * excess

    def met_by(self, measured: Measurement) -> bool:
        """Whether a candidate is within all limits."""
        return self.misses(measured) == 0

    def __str__(self) -> str:
        told = []
        if self.min_sqnr_db is not None:
            told.append(f"SQNR {self.min_sqnr_db:g} dB")
        if self.min_agreement is not None:
            told.append(f"agreement {self.min_agreement:g}")
        if self.max_accuracy_drop is not None:
            told.append(f"at most {self.max_accuracy_drop:g} points of accuracy lost")
        if self.max_size is not None:
            told.append(f"at most {self.max_size:,} bytes")
        return " and ".join(told)
