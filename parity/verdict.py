"""Verdicts: the frozen result of a comparison, true if it passed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from attnexport.core.errors import GateError, ParityError

from .figures import Figures, finite_json
from .judgement import described

_DISTANCE = ("max_error", "index", "mean_error", "rms_error", "scale", "sqnr_db", "columns")


@dataclass(frozen=True)
class Finding:
    """One output on one case.

    Attributes:
        signature: The signature that was run.
        output: Name of the output; `*` if the outputs have other names than the original's.
        case: Name of the case.
        measured: The figures; None if the output holds no floats, or could not be compared.
        allowed_error: The greatest error allowed, in the output's unit; None if an SQNR was required.
        min_sqnr_db: The SQNR required, in dB; None if an error was allowed.
        problem: Why it failed; None if it passed.
        min_column_sqnr_db: The SQNR required of each column, in dB; None if an error was allowed.
    """

    signature: str
    output: str
    case: str
    measured: Figures | None = None
    allowed_error: float | None = None
    min_sqnr_db: float | None = None
    problem: str | None = None
    min_column_sqnr_db: float | None = None

    @property
    def strain(self) -> float:
        """How much of the budget is used up: more than 1 if it is exceeded."""
        if self.measured is None:
            return math.inf if self.problem else 0.0
        if self.min_sqnr_db is not None:
            whole, columns = self.min_sqnr_db - self.measured.sqnr_db, self.measured.columns
            if columns is not None and self.min_column_sqnr_db is not None:
                whole = max(whole, self.min_column_sqnr_db - columns.sqnr_db)
            return float(10 ** (whole / 20))
        if self.allowed_error:
            return self.measured.max_error / self.allowed_error
        return math.inf if self.measured.max_error else 0.0

    @property
    def description(self) -> str:
        """The figure that was judged, with what was allowed."""
        return "equal" if self.measured is None else described(self.measured, self.allowed_error, self.min_sqnr_db)

    def __str__(self) -> str:
        place = f"{self.signature} output {self.output!r} on {self.case}"
        return f"{place}: {self.problem or self.description}"

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {
            "signature": self.signature,
            "output": self.output,
            "case": self.case,
            "distance": None if self.measured is None else self.measured.to_dict(*_DISTANCE),
            "allowed_error": finite_json(self.allowed_error),
            "min_sqnr_db": self.min_sqnr_db,
            "min_column_sqnr_db": self.min_column_sqnr_db,
            "problem": self.problem,
        }


@dataclass(frozen=True)
class Verdict:
    """A candidate against its reference, over all signatures and cases.

    Example:
        >>> passed = Finding("serving_default", "logits", "zeros", Figures(samples=2, sqnr_db=41.0), min_sqnr_db=25.0)
        >>> verdict = Verdict("Keras", "the int8 .tflite", "int8", (passed,))
        >>> print(verdict)
        the int8 .tflite agrees with Keras: SQNR 41.0 dB (25 dB needed)
        >>> bool(verdict)
        True
    """

    reference: str
    candidate: str
    precision: str
    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings with a problem."""
        return tuple(finding for finding in self.findings if finding.problem)

    @property
    def worst(self) -> Finding | None:
        """The finding that comes nearest to its budget, or exceeds it most."""
        return max(self.findings, key=lambda finding: finding.strain, default=None)

    def require(self) -> None:
        """Raise the first failure, if there is one.

        Raises:
            ParityError: Only the numbers differ.
            GateError: The outputs cannot be compared: names, shapes, types, or NaN.
        """
        for failure in self.failures:
            raise GateError(str(failure)) if failure.measured is None else ParityError(str(failure))

    def __str__(self) -> str:
        if self.failures:
            return f"{self.candidate} differs from {self.reference}: {self.failures[0]}"
        return f"{self.candidate} agrees with {self.reference}: {self.worst.description if self.worst else 'no cases'}"

    def to_json(self) -> dict[str, Any]:
        """The verdict with its worst finding, as JSON values; an infinite figure is null."""
        return {
            "passed": bool(self),
            "reference": self.reference,
            "candidate": self.candidate,
            "precision": self.precision,
            "compared": len(self.findings),
            "worst": None if self.worst is None else self.worst.to_dict(),
            "failures": [finding.to_dict() for finding in self.failures],
        }
