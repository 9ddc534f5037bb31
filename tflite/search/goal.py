"""What a search is asked for, and what a candidate was measured to be."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from attnexport.core.errors import ArgumentError
from attnexport.parity.points import points_lost

SEARCHED = "auto"  # what recipes of a search, and their files, are called
OBJECTIVES = ("size", "latency")
DEFAULT_TRIALS = 200


@dataclass(frozen=True)
class Figures:
    """A candidate, measured.

    Attributes:
        size_bytes: Of its file.
        sqnr_db: Of its worst output against the original, in dB.
        latency_ratio: Its median latency over float32's, from calls in turn; None where it was not measured.
        float_latency_ms: float32's median in those.
        agreement: Share of samples with the original's top-1 class, 0 to 1; None where no output holds scores.
        accuracy: Share of samples with the right class, 0 to 1; None without labels.
        reference_accuracy: The original's.
        problem: Why it is no candidate at all, None where it is one.
    """

    size_bytes: int = 0
    sqnr_db: float = -inf
    latency_ratio: float | None = None
    float_latency_ms: float | None = None
    agreement: float | None = None
    accuracy: float | None = None
    reference_accuracy: float | None = None
    problem: str | None = None

    @property
    def accuracy_drop(self) -> float | None:
        """Accuracy below the original's, in percent points."""
        if self.accuracy is None or self.reference_accuracy is None:
            return None
        return points_lost(self.reference_accuracy, self.accuracy)

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        told = [f"{self.size_bytes:,} bytes", "equal" if self.sqnr_db == inf else f"SQNR {self.sqnr_db:.1f} dB"]
        if self.agreement is not None:
            told.append(f"agreement {self.agreement:.4f}")
        if self.accuracy is not None and self.accuracy_drop is not None:
            lost = f", {self.accuracy_drop:.2f} points lost" if self.accuracy_drop > 0 else ""
            told.append(f"accuracy {self.accuracy:.1%}{lost}")
        return ", ".join(told)


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
        ArgumentError: where nothing says what may be lost, or a figure is out of its bounds.
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
        if self.min_sqnr_db is not None and not -inf < self.min_sqnr_db < inf:
            raise ArgumentError(f"min_sqnr must be a number of dB; received {self.min_sqnr_db}")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise ArgumentError(f"min_agreement is a share from 0 to 1; received {self.min_agreement}")
        if self.max_accuracy_drop is not None and not 0 <= self.max_accuracy_drop <= 100:
            raise ArgumentError(f"max_accuracy_drop is 0 to 100 percent points; received {self.max_accuracy_drop}")

    def loses_too_much(self, figures: Figures) -> float:
        """How far the losses exceed what is allowed, 0 where they do not: a dB counts as much as a percent point."""
        if figures.problem:
            return inf
        found = 0.0
        if self.min_sqnr_db is not None:
            found += max(0.0, self.min_sqnr_db - figures.sqnr_db)
        if self.min_agreement is not None:
            found += 100 * max(0.0, self.min_agreement - (figures.agreement or 0.0))
        if self.max_accuracy_drop is not None:
            drop = figures.accuracy_drop
            found += 100.0 if drop is None else max(0.0, drop - self.max_accuracy_drop)
        return found

    def misses(self, figures: Figures) -> float:
        """As `loses_too_much`, ten percent of size beyond the limit counting as much as a dB."""
        excess = 0.0 if self.max_size is None else max(0.0, figures.size_bytes / self.max_size - 1)
        return self.loses_too_much(figures) + 10 * excess

    def met_by(self, figures: Figures) -> bool:
        """Whether a candidate is within all limits."""
        return self.misses(figures) == 0

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
