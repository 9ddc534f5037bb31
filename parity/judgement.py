"""The only judge: holds the figures of an output to the budget of its precision and to the user's limits."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Protocol

from . import figures as words
from .budgets import NOISE_FACTOR, budget_of
from .figures import Figures
from .limits import Limits

_UNSTABLE = "the original gives different outputs for the same input: it is random or keeps state"


class OwnNoise(Protocol):
    """How much the original's output changes by itself, in the output's unit; measured when it is needed."""

    def of(self, output: str) -> float:
        """Its greatest change if the inputs move by one float32 ulp."""
        ...

    def unmoved(self, output: str) -> float:
        """Its greatest change for the same inputs."""
        ...


@dataclass(frozen=True)
class Judgement:
    """What was allowed, and what exceeds it.

    Attributes:
        allowed_error: The greatest error that was allowed, in the output's unit; None if SQNR or tolerances apply.
        min_sqnr_db: The SQNR that was required, in dB; None if errors or tolerances apply.
        problems: What is exceeded, a phrase each; empty if it passed.
        is_comparable: Whether the original has outputs to compare with: the same ones each time.
    """

    allowed_error: float | None = None
    min_sqnr_db: float | None = None
    problems: tuple[str, ...] = ()
    is_comparable: bool = True

    def __bool__(self) -> bool:
        return not self.problems


def judge(
    measured: Figures, precision: str, limits: Limits | None = None, *, output: str = "", noise: OwnNoise | None = None
) -> Judgement:
    """Judge an output by the budget of its precision, or by the limits that replace it.

    Args:
        measured: The figures of the output.
        precision: Its row of the table of budgets.
        limits: What the user set.
        output: Its name, to ask the noise for.
        noise: How much the original itself moves; float32 budgets allow for it.

    Raises:
        ArgumentError: The precision is unknown.

    Example:
        >>> judgement = judge(Figures(samples=8, max_error=0.5, sqnr_db=21.4, expected=2.0, actual=2.5), "int8")
        >>> bool(judgement), judgement.min_sqnr_db
        (False, 25.0)
        >>> judgement.problems
        ('SQNR 21.4 dB (25 dB needed), worst at []: 2.5 instead of 2',)
        >>> bool(judge(Figures(samples=8, sqnr_db=41.0), "int8", Limits(min_sqnr_db=40)))
        True
    """
    limits = limits or Limits()
    budget = budget_of(precision)
    if limits.rtol is not None or limits.min_sqnr_db is not None or budget.relative_error is None:
        required = limits.min_sqnr_db
        if required is None and limits.rtol is None:
            required = budget.min_sqnr_db
        errors, allowed = _elements(measured, limits) + _ratio(measured, required), None
    else:
        allowed, required = budget.relative_error * measured.scale, None
        if allowed < measured.max_error and isfinite(measured.max_error) and noise is not None:
            if noise.unmoved(output) > allowed:
                return Judgement(problems=(_UNSTABLE,), is_comparable=False)
            allowed = max(allowed, NOISE_FACTOR * noise.of(output))
        errors = [described(measured, allowed)] if measured.max_error > allowed else []
    if errors:
        values = f"{measured.actual:.6g} instead of {measured.expected:.6g}"
        errors[-1] += f", worst at {list(measured.index)}: {values}"
    return Judgement(allowed, required, (*errors, *_classes(measured, limits)))


def described(measured: Figures, allowed_error: float | None = None, min_sqnr_db: float | None = None) -> str:
    """The figure that is judged, with what was allowed."""
    if min_sqnr_db is not None:
        return f"SQNR {measured.sqnr_db:.1f} dB ({min_sqnr_db:g} dB needed)"
    return f"max error {words.error(measured.max_error)} (allowed {words.error(allowed_error or 0.0)})"


def _elements(measured: Figures, limits: Limits) -> list[str]:
    if limits.rtol is None or not measured.out_of_tolerance:
        return []
    return [f"{measured.out_of_tolerance:.2%} of the elements are out of rtol {limits.rtol:g}, atol {limits.atol:g}"]


def _ratio(measured: Figures, required: float | None) -> list[str]:
    if required is None or measured.sqnr_db >= required:
        return []
    return [described(measured, min_sqnr_db=required)]


def _classes(measured: Figures, limits: Limits) -> list[str]:
    problems = []
    agreement = measured.agreement
    if limits.min_agreement is not None and agreement is not None and agreement < limits.min_agreement:
        problems.append(f"agreement {words.share(agreement)} ({limits.min_agreement:g} needed)")
    drop = measured.accuracy_drop
    if limits.max_accuracy_drop is not None and drop is not None and drop > limits.max_accuracy_drop:
        problems.append(f"accuracy {drop:.2f} points below the original's (at most {limits.max_accuracy_drop:g})")
    return problems
