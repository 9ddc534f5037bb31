"""Verdicts: the frozen result of a comparison, true when it passed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .metrics import Distance


@dataclass(frozen=True)
class Finding:
    """One output on one case: its distance, what was allowed, and what is wrong with it, if anything."""

    signature: str
    output: str
    case: str
    distance: Distance | None = None
    allowed_error: float | None = None
    min_sqnr_db: float | None = None
    problem: str | None = None

    @property
    def strain(self) -> float:
        """How much of the budget is used up: over 1 where it is exceeded."""
        if self.distance is None:
            return math.inf if self.problem else 0.0
        if self.min_sqnr_db is not None:
            return 10 ** ((self.min_sqnr_db - self.distance.sqnr_db) / 20)
        if self.allowed_error:
            return self.distance.max_error / self.allowed_error
        return math.inf if self.distance.max_error else 0.0

    @property
    def figures(self) -> str:
        """The measured figures in words."""
        return "equal" if self.distance is None else describe(self.distance, self.allowed_error, self.min_sqnr_db)

    def __str__(self) -> str:
        place = f"{self.signature} output {self.output!r} on {self.case}"
        return f"{place}: {self.problem or self.figures}"


@dataclass(frozen=True)
class Verdict:
    """A candidate against its reference, over all signatures and cases."""

    reference: str
    candidate: str
    precision: str
    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.problem)

    @property
    def worst(self) -> Finding | None:
        """The finding that comes nearest to its budget, or exceeds it most."""
        return max(self.findings, key=lambda finding: finding.strain, default=None)

    def __str__(self) -> str:
        if self.failures:
            return f"{self.candidate} differs from {self.reference}: {self.failures[0]}"
        return f"{self.candidate} agrees with {self.reference}: {self.worst.figures if self.worst else 'no cases'}"

    def to_json(self) -> dict[str, Any]:
        """The verdict with its worst finding, as JSON values; an infinite figure is null."""
        worst = None if self.worst is None else finite_json(asdict(self.worst))
        return {
            "passed": bool(self),
            "reference": self.reference,
            "candidate": self.candidate,
            "precision": self.precision,
            "compared": len(self.findings),
            "worst": worst,
            "failures": [finite_json(asdict(finding)) for finding in self.failures],
        }


def describe(distance: Distance, allowed_error: float | None = None, min_sqnr_db: float | None = None) -> str:
    """A distance in words, with what was allowed."""
    if min_sqnr_db is not None:
        return f"SQNR {distance.sqnr_db:.1f} dB ({min_sqnr_db:g} dB wanted)"
    return f"max error {distance.max_error:.2g} (allowed {allowed_error or 0:.2g})"


def finite_json(value: Any) -> Any:
    """JSON values in which an infinite or undefined number is null."""
    if isinstance(value, dict):
        return {key: finite_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
