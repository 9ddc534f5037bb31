"""The trade-off between size, latency and error: which candidates are on the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """One way to ship a model.

    Attributes:
        name: Name of the recipe, or another distinct name.
        size_bytes: Size of the file.
        latency_ms: Median of a call with one sample, in ms, measured side by side with the others; 0 if not measured.
        sqnr_db: SQNR against the original, in dB; infinite if nothing differs.
        agreement: Share of samples with the original's top class, 0 to 1; None without classes.
        accuracy: Share of samples with the right class, 0 to 1; None without labels.
        passed: Whether it met its budget; candidates that did not are dominated by all that did.
        chosen: Whether a search chose it.
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
    """The Pareto front: the candidates that no other dominates, in their order.

    Example:
        >>> int8, float32 = Candidate("int8", 20_000, 0.1, 38.5), Candidate("float32", 80_000, 0.2, 120.0)
        >>> [each.name for each in non_dominated([int8, float32, Candidate("worse", 90_000, 0.3, 30.0)])]
        ['int8', 'float32']
    """
    return tuple(each for each in candidates if not any(other.dominates(each) for other in candidates))
