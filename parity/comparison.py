"""Compare two Runners, case by case, within the budget of a precision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from attnexport.core.errors import ArgumentError, no_such
from attnexport.core.runner import Runner, batched
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays

from .budgets import BUDGETS, NOISE_FACTOR, Budget
from .metrics import Array, Distance, distance
from .mismatch import is_float, mismatch, names_mismatch, not_finite
from .noise import Noise
from .verdict import Finding, Verdict, describe


@dataclass(frozen=True)
class Case:
    """Inputs for one signature: arrays `[n, ...]` by input name.

    `expected` are the reference's outputs, where they are known already.
    """

    name: str
    inputs: Arrays
    signature: str = DEFAULT_SIGNATURE
    expected: Arrays | None = None


def compare(
    reference: Runner,
    candidate: Runner,
    cases: Iterable[Case],
    *,
    precision: str = "float32",
    budget: Budget | None = None,
    reference_name: str = "Keras",
    candidate_name: str = "the artifact",
    require_finite: bool = False,
) -> Verdict:
    """Run every case through both and judge each output.

    Float outputs are judged by the budget, the precision's own where None. NaN and infinity agree only with themselves
    at the same place, and with nothing where `require_finite`. Integers, booleans and strings must be equal; shapes and
    dtypes must match.

    Raises:
        ArgumentError: for an unknown precision.
    """
    if precision not in BUDGETS:
        raise ArgumentError(no_such("budget for precision", precision, BUDGETS))
    findings: list[Finding] = []
    for case in cases:
        findings += _compare_case(reference, candidate, case, budget or BUDGETS[precision], require_finite)
    return Verdict(reference_name, candidate_name, precision, tuple(findings))


def _compare_case(
    reference: Runner, candidate: Runner, case: Case, budget: Budget, require_finite: bool
) -> list[Finding]:
    expected = case.expected
    if expected is None:
        expected = batched(reference, case.inputs, signature=case.signature)
    actual = batched(candidate, case.inputs, signature=case.signature)
    if problem := names_mismatch(expected, actual):
        return [Finding(case.signature, "*", case.name, problem=problem)]
    noise = Noise(reference, case.inputs, case.signature, expected)
    return [
        Finding(
            case.signature,
            name,
            case.name,
            **_judge(name, expected[name], actual[name], budget, noise, require_finite),
        )
        for name in sorted(expected)
    ]


def _judge(
    output: str, expected: Array, actual: Array, budget: Budget, noise: Noise, require_finite: bool
) -> dict[str, Any]:
    """What a Finding says of one output, beside its place."""
    if problem := mismatch(expected, actual):
        return {"problem": problem}
    if not is_float(expected):
        return {}
    if require_finite and (problem := not_finite(actual)):
        return {"problem": problem}
    measured = distance(expected, actual)
    if budget.min_sqnr_db is not None:
        limits = {"min_sqnr_db": budget.min_sqnr_db}
        failed = measured.sqnr_db < budget.min_sqnr_db
    else:
        allowed = (budget.relative_error or 0.0) * measured.scale
        if measured.max_error > allowed:
            if noise.unmoved(output) > allowed:
                return {"problem": "the original gives other answers to the same input: it is random, or keeps a state"}
            allowed = max(allowed, NOISE_FACTOR * noise.of(output))
        limits = {"allowed_error": allowed}
        failed = measured.max_error > allowed
    return {"distance": measured, **limits, "problem": _explain(measured, expected, actual, limits) if failed else None}


def _explain(measured: Distance, expected: Array, actual: Array, limits: dict[str, float]) -> str:
    values = f"{float(actual[measured.index]):.6g} where {float(expected[measured.index]):.6g} is right"
    return f"{describe(measured, **limits)}, worst at {list(measured.index)}: {values}"
