"""The trade between size, latency and error: which candidates nobody beats in all three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One way to ship a model.

    Attributes:
        name: The recipe's, or what else tells it from the others.
        size_bytes: Of the file, in bytes.
        latency_ms: Median of a call with one sample, in ms, measured side by side with the others'.
        sqnr_db: Against the original, in dB; infinite where nothing differs.
        agreement: Share of samples with the original's top class, 0 to 1; None where there are no classes.
        accuracy: Share of samples with the right class, 0 to 1; None where no labels are known.
        passed: Whether it met its budget; one that did not is beaten by all that did.
        chosen: Whether it is the one that a search took.
    """

    name: str
    size_bytes: int
    latency_ms: float
    sqnr_db: float
    agreement: float | None = None
    accuracy: float | None = None
    passed: bool = True
    chosen: bool = False

    def dominates(self, other: Candidate) -> bool:
        """Whether it is nowhere worse than the other, and somewhere better."""
        if self.passed != other.passed:
            return self.passed
        mine = self.size_bytes, self.latency_ms, -self.sqnr_db
        its = other.size_bytes, other.latency_ms, -other.sqnr_db
        return mine != its and all(a <= b for a, b in zip(mine, its, strict=True))


def non_dominated(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The Pareto front: those that no other candidate dominates, in their order."""
    return tuple(each for each in candidates if not any(other.dominates(each) for other in candidates))
