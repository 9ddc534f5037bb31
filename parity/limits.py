"""Limits that a user sets, beside and in place of the precisions' budgets."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from attnexport.core.errors import ArgumentError


@dataclass(frozen=True)
class Limits:
    """Limits of a comparison; those that are None do not apply.

    Attributes:
        rtol: With `atol`, what each element may differ by, `atol + rtol * |original|`, in place of the precision's
            budget.
        atol: See `rtol`; give both or neither.
        min_sqnr_db: Least SQNR in dB, in place of the precision's budget.
        min_agreement: Least share of samples with the original's top-1 class, 0 to 1.
        max_accuracy_drop: How far accuracy may fall below the original's, in percentage points.

    Raises:
        ArgumentError: Only one of `rtol` and `atol` is given, or a limit is out of its range.

    Example:
        >>> Limits(min_sqnr_db=40, min_agreement=0.99).given()
        {'min_sqnr_db': 40.0, 'min_agreement': 0.99}
        >>> Limits(rtol=1e-3)
        Traceback (most recent call last):
        attnexport.core.errors.ArgumentError: rtol and atol come together: give both, one of them 0 if it is not needed
    """

    rtol: float | None = None
    atol: float | None = None
    min_sqnr_db: float | None = None
    min_agreement: float | None = None
    max_accuracy_drop: float | None = None

    def __post_init__(self) -> None:
        if (self.rtol is None) != (self.atol is None):
            raise ArgumentError("rtol and atol come together: give both, one of them 0 if it is not needed")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise ArgumentError(f"min_agreement is a share from 0 to 1; received {self.min_agreement}")
        if self.min_sqnr_db is not None and not isfinite(self.min_sqnr_db):
            raise ArgumentError(f"min_sqnr must be a number of dB; received {self.min_sqnr_db}")
        for name in ("rtol", "atol", "max_accuracy_drop"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ArgumentError(f"{name} must not be negative; received {value}")

    def given(self) -> dict[str, float]:
        """The limits that apply, by name."""
        return {name: float(value) for name, value in vars(self).items() if value is not None}
