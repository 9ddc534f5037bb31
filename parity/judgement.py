"""The only judge: holds the figures of an output to the budget of its precision and to the user's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Protocol

from attnexport.core.signature import Array

from . import figures as words
from .budgets import NOISE_FACTOR, Budget, budget_of
from .column_tallies import ColumnTallies
from .columns import Beyond, Columns
from .figures import Figures
from .limits import Limits

_HARDLY = 0.01  # of its greatest magnitude is a standard deviation of which eight bits keep two or three steps
_UNSTABLE = "the original gives different outputs for the same input: it is random or keeps state"


class OwnNoise(Protocol):
    """How much the original's output changes by itself, in the output's unit; measured when it is needed."""

    def of(self, output: str) -> float:
        """Its greatest change if the inputs move by one float32 ulp."""
        ...

    def unmoved(self, output: str) -> float:
        """Its greatest change for the same inputs."""
        ...

    def moved(self, output: str) -> tuple[Array, Array]:
        """Its values, and those if the inputs move by one float32 ulp."""
        ...


@dataclass(frozen=True)
class Judgement:
    """What was allowed, and what exceeds it.

    Attributes:
        allowed_error: The greatest error that was allowed, in the output's unit; None if SQNR or tolerances apply.
        min_sqnr_db: The SQNR that was required, in dB; None if errors or tolerances apply.
        min_column_sqnr_db: The SQNR that was required of each column, in dB; None as above.
        problems: What is exceeded, a phrase each; empty if it passed.
        is_comparable: Whether the original has outputs to compare with: the same ones each time.
    """

    allowed_error: float | None = None
    min_sqnr_db: float | None = None
    min_column_sqnr_db: float | None = None
    problems: tuple[str, ...] = ()
    is_comparable: bool = True

    def __bool__(self) -> bool:
        return not self.problems


def judge(
    measured: Figures,
    precision: str,
    limits: Limits | None = None,
    *,
    output: str = "",
    noise: OwnNoise | None = None,
    columns: ColumnTallies | None = None,
) -> Judgement:
    """Judge an output by the budget of its precision, or by the limits that replace it.

    Args:
        measured: The figures of the output.
        precision: Its row of the table of budgets.
        limits: What the user set.
        output: Its name, to ask the noise for.
        noise: How much the original itself moves; float32 budgets allow for it.
        columns: The output's columns, which float32 budgets hold to errors of their own.

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
    by_errors = limits.rtol is None and limits.min_sqnr_db is None and budget.relative_error is not None
    if by_errors:
        allowed, required, of_columns = (budget.relative_error or 0.0) * measured.scale, None, None
        if allowed < measured.max_error and isfinite(measured.max_error) and noise is not None:
            if noise.unmoved(output) > allowed:
                return Judgement(problems=(_UNSTABLE,), is_comparable=False)
            allowed = max(allowed, NOISE_FACTOR * noise.of(output))
        errors = [described(measured, allowed)] if measured.max_error > allowed else []
    else:
        allowed, required, of_columns = None, *required_sqnr_db(budget, limits)
        errors = _elements(measured, limits) + _ratio(measured, required)
    if errors:
        values = f"{measured.actual:.6g} instead of {measured.expected:.6g}"
        errors[-1] += f", worst at {list(measured.index)}: {values}"
    elif by_errors and columns is not None:
        moved = None if noise is None else partial(noise.moved, output)
        errors = _beyond(columns.beyond(budget.relative_error or 0.0, moved))
    elif limits.rtol is None:
        errors = _lost(measured.columns, of_columns)
    if limits.rtol is None:
        errors += _masks(measured.columns)
    return Judgement(allowed, required, of_columns, (*errors, *_classes(measured, limits)))


def required_sqnr_db(budget: Budget, limits: Limits) -> tuple[float | None, float | None]:
    """The SQNR in dB that the whole output and that each column must have; None if neither is limited.

    A user who asks for less of the whole than columns must have asks for no more of them.

    Example:
        >>> required_sqnr_db(budget_of("int8"), Limits()), required_sqnr_db(budget_of("int8"), Limits(min_sqnr_db=5.0))
        ((25.0, 10.0), (5.0, 5.0))
    """
    if limits.rtol is not None:
        return limits.min_sqnr_db, None
    required = budget.min_sqnr_db if limits.min_sqnr_db is None else limits.min_sqnr_db
    if required is None:
        return None, None
    return required, min(budget.min_column_sqnr_db, required)


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


def _lost(columns: Columns | None, required: float | None) -> list[str]:
    """That the worst column has too little SQNR, while the whole has enough."""
    if columns is None or required is None or columns.sqnr_db >= required:
        return []
    advice = "; give what has another scale an output of its own" if columns.count > 1 else ""
    if columns.variation < _HARDLY:
        advice = (
            f"; on these samples it varies by {columns.variation:.1g} of its size: compare on samples that the model "
            "tells apart, or subtract the mean in the model's target and add it in the app"
        )
    if columns.masked:
        advice = "; the masked values use up the scale: mask behind the model"
    found = f"{columns.sqnr_db:.1f} dB with its mean taken out ({required:g} dB needed)"
    return [f"{columns.place} has SQNR {found}{advice}"]


def _beyond(columns: Sequence[Beyond]) -> list[str]:
    """That the worst column has too great an error, while the whole has not."""
    failed = [each for each in columns if each.error > NOISE_FACTOR * each.moved]
    if not failed:
        return []
    worst = max(failed, key=lambda each: each.error / max(each.allowed, NOISE_FACTOR * each.moved, 1e-300))
    allowed = max(worst.allowed, NOISE_FACTOR * worst.moved)
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return [f"{worst.place}{more}: max error {words.error(worst.error)} (allowed {words.error(allowed)})"]


def _masks(columns: Columns | None) -> list[str]:
    """That other values are masked than in the original."""
    if columns is None or not columns.masked_otherwise:
        return []
    return [f"{columns.masked_otherwise} values are masked in one of both and not in the other"]


def _classes(measured: Figures, limits: Limits) -> list[str]:
    problems = []
    agreement = measured.agreement
    if limits.min_agreement is not None and agreement is not None and agreement < limits.min_agreement:
        problems.append(f"agreement {words.share(agreement)} ({limits.min_agreement:g} needed)")
    drop = measured.accuracy_drop
    if limits.max_accuracy_drop is not None and drop is not None and drop > limits.max_accuracy_drop:
        problems.append(f"accuracy {drop:.2f} points below the original's (at most {limits.max_accuracy_drop:g})")
    return problems
