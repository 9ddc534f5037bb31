"""What an artifact may lose, as its precision allows and as the user says on top."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from attnexport.core.errors import ArgumentError, no_such

from .budgets import BUDGETS
from .points import points_lost
from .tally import Measurement


@dataclass(frozen=True)
class Tolerance:
    """Limits of a comparison; those that are None do not bind.

    Attributes:
        rtol: With `atol`, what each element may differ by: atol + rtol |reference|, in place of the precision's budget.
        atol: See `rtol`; both or neither.
        min_sqnr_db: The least SQNR in dB, in place of the precision's budget.
        min_agreement: The least share of samples with the original's top-1 class, 0 to 1.
        max_accuracy_drop: The most that accuracy may fall below the original's, in percent points.

    Raises:
        ArgumentError: for one of rtol and atol without the other, or a share outside 0 to 1.
    """

    rtol: float | None = None
    atol: float | None = None
    min_sqnr_db: float | None = None
    min_agreement: float | None = None
    max_accuracy_drop: float | None = None

    def __post_init__(self) -> None:
        if (self.rtol is None) != (self.atol is None):
            raise ArgumentError("rtol and atol come together: give both, one of them 0 where it is not wanted")
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise ArgumentError(f"min_agreement is a share from 0 to 1; received {self.min_agreement}")
        if self.min_sqnr_db is not None and not isfinite(self.min_sqnr_db):
            raise ArgumentError(f"min_sqnr must be a number of dB; received {self.min_sqnr_db}")
        for name in ("rtol", "atol", "max_accuracy_drop"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ArgumentError(f"{name} must not be negative; received {value}")

    def problems(self, measured: Measurement, precision: str, noise: float = 0.0) -> list[str]:
        """What a measurement exceeds, a phrase each; nothing where it is within.

        Args:
            measured: Of one output.
            precision: The row of the table of budgets.
            noise: What the original itself makes of inputs moved by one float32 ulp, as `Noise` measures it times its
                factor, in the output's unit.

        Raises:
            ArgumentError: for an unknown precision.
        """
        return [*self._numbers(measured, precision, noise), *self._classes(measured)]

    def _numbers(self, measured: Measurement, precision: str, noise: float) -> list[str]:
        if precision not in BUDGETS:
            raise ArgumentError(no_such("budget for precision", precision, BUDGETS))
        budget = BUDGETS[precision]
        found = []
        if self.rtol is not None and measured.out_of_tolerance > 0:
            found.append(
                f"{measured.out_of_tolerance:.2%} of the elements are out of rtol {self.rtol:g}, atol {self.atol:g}"
            )
        least = self.min_sqnr_db
        if least is None and self.rtol is None:
            least = budget.min_sqnr_db
        if least is not None and measured.sqnr_db < least:
            found.append(f"SQNR {measured.sqnr_db:.1f} dB ({least:g} dB wanted)")
        if budget.relative_error is not None and self.rtol is None and self.min_sqnr_db is None:
            allowed = max(budget.relative_error * measured.scale, noise)
            if measured.max_error > allowed:
                found.append(f"max error {measured.max_error:.2g} (allowed {allowed:.2g})")
        if found:
            place = f"worst at {list(measured.index)}: {measured.actual:.6g} where {measured.expected:.6g} is right"
            found[-1] += f", {place}"
        return found

    def _classes(self, measured: Measurement) -> list[str]:
        found = []
        agreement = measured.top_1_agreement
        if self.min_agreement is not None and agreement is not None and agreement < self.min_agreement:
            found.append(f"agreement {agreement:.4f} ({self.min_agreement:g} wanted)")
        if self.max_accuracy_drop is not None and measured.accuracy is not None:
            drop = points_lost(measured.reference_accuracy or 0.0, measured.accuracy)
            if drop > self.max_accuracy_drop:
                found.append(f"accuracy {drop:.2f} points below the original's (at most {self.max_accuracy_drop:g})")
        return found
