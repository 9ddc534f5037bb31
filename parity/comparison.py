"""Compare two Runners, case by case, within the budget of a precision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attnexport.core.runner import Runner
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays

from .budgets import budget_of, least_equal
from .judgement import judge
from .limits import Limits
from .mismatch import is_float, mismatch, names_mismatch, not_finite
from .noise import Noise
from .running import comparable, run_for_comparison
from .tally import Tally
from .verdict import Finding, Verdict


@dataclass(frozen=True)
class Case:
    """Inputs for one signature.

    Attributes:
        name: What messages call it.
        inputs: Arrays `[n, ...]` by input name.
        signature: The signature to run.
        expected: The reference's outputs, if they are known already.
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
    limits: Limits | None = None,
    reference_name: str = "Keras",
    candidate_name: str = "the artifact",
    require_finite: bool = False,
    class_names: Sequence[str] = (),
) -> Verdict:
    """Run every case through both and judge each output.

    Floats are held to the budget of the precision. NaN and infinity agree only with themselves at the same place.
    Strings must be equal, and so must integers and booleans, apart from the share that the precision allows to differ;
    shapes and dtypes must match.

    Args:
        reference: What is right.
        candidate: What is compared with it.
        cases: The inputs.
        precision: The row of the table of budgets.
        limits: Limits in place of that budget.
        reference_name: What messages call the reference.
        candidate_name: What messages call the candidate.
        require_finite: Whether every NaN and infinity of the candidate is a failure.
        class_names: Names of the columns of an output that has as many, for tables and messages.

    Returns:
        The verdict: true if every output passed.

    Raises:
        ArgumentError: The precision is unknown.

    Example:
        >>> import numpy as np
        >>> from attnexport.core import Signature, TensorSpec
        >>> class Scaled:
        ...     spec = TensorSpec("x", "float32", (None, 2))
        ...     signatures = {"serving_default": Signature("serving_default", (spec,), (spec,))}
        ...     def __init__(self, factor):
        ...         self.factor = np.float32(factor)
        ...     def run(self, inputs, signature="serving_default"):
        ...         return {"x": inputs["x"] * self.factor}
        >>> cases = [Case("ones", {"x": np.ones((3, 2), np.float32)})]
        >>> print(compare(Scaled(1), Scaled(1.01), cases, precision="int8"))
        the artifact agrees with Keras: SQNR 40.0 dB (25 dB needed)
        >>> bool(compare(Scaled(1), Scaled(1.01), cases))
        False
    """
    budget_of(precision)
    findings: list[Finding] = []
    for case in cases:
        findings += _compare_case(reference, candidate, case, precision, limits, require_finite, class_names)
    return Verdict(reference_name, candidate_name, precision, tuple(findings))


def _compare_case(
    reference: Runner,
    candidate: Runner,
    case: Case,
    precision: str,
    limits: Limits | None,
    require_finite: bool,
    class_names: Sequence[str],
) -> list[Finding]:
    if case.expected is None:
        expected = run_for_comparison(reference, case.inputs, signature=case.signature)
    else:
        expected = comparable(case.expected)
    actual = run_for_comparison(candidate, case.inputs, signature=case.signature)
    if problem := names_mismatch(expected, actual):
        return [Finding(case.signature, "*", case.name, problem=problem)]
    noise = Noise(reference, case.inputs, case.signature, expected)
    findings = []
    for name in sorted(expected):
        right, other = expected[name], actual[name]
        problem = mismatch(right, other, least_equal(precision))
        if problem is None and require_finite and is_float(right):
            problem = not_finite(other)
        if problem is not None or not is_float(right):
            findings.append(Finding(case.signature, name, case.name, problem=problem))
            continue
        tally = Tally(step=budget_of(precision).step)
        tally.add(right, other)
        measured = tally.result().named(class_names)
        judgement = judge(measured, precision, limits, output=name, noise=noise, columns=tally.columns)
        problem = "; ".join(judgement.problems) or None
        figures = measured if judgement.is_comparable else None
        findings.append(
            Finding(
                case.signature,
                name,
                case.name,
                figures,
                judgement.allowed_error,
                judgement.min_sqnr_db,
                problem,
                judgement.min_column_sqnr_db,
            )
        )
    return findings
