"""A validation in rows: the worst figures of each artifact's signature."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from attnexport.store.manifest import CheckRecord

from .checks import HALF, Check, Validation
from .figures import Figures, cells, of_outputs, worst

TITLES = (
    "artifact",
    "runtime",
    "signature",
    "SQNR",
    "worst column",
    "max error",
    "agreement",
    "accuracy",
    "edges",
    "verdict",
)


@dataclass(frozen=True)
class Summary:
    """The worst figures of one signature of an artifact, in one runtime or in several that all passed.

    Attributes:
        artifact: Path within the export.
        runtimes: What ran it.
        signature: Name of the signature.
        on_data: Whether it was compared on samples, and not only on edge cases.
        figures: The worst figures on the samples; None if none were measured.
        edges: Number of edge cases.
        failed_edges: How many of them failed.
        problem: Why it failed; None if it passed.
        is_reported: Whether its errors on the samples were only reported.
    """

    artifact: str
    runtimes: tuple[str, ...]
    signature: str
    on_data: bool
    figures: Figures | None
    edges: int
    failed_edges: int
    problem: str | None
    is_reported: bool = False

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return self.problem is None

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of a table under TITLES."""
        return (
            self.artifact,
            ", ".join(self.runtimes),
            self.signature,
            *cells(self.figures),
            f"{self.edges - self.failed_edges} of {self.edges}" if self.edges else "none",
            "FAILED" if not self.passed else "reported only" if self.is_reported else "passed",
        )

    def to_record(self) -> CheckRecord:
        """Its verdict and figures in the form that the manifest stores."""
        figures = {} if self.figures is None else self.figures.to_dict()
        columns = figures.get("columns") or {"sqnr_db": None, "place": None}
        return CheckRecord(
            ", ".join(self.runtimes),
            self.signature,
            self.passed,
            figures.get("sqnr_db"),
            figures["max_error"] if figures.get("samples") else None,
            figures.get("agreement"),
            figures.get("accuracy"),
            self.problem,
            columns["sqnr_db"],
            columns["place"],
        )


def recorded_figures(record: CheckRecord) -> Figures | None:
    """The figures that a manifest stores; None if no errors were measured."""
    if record.max_error is None:
        return None
    infinite = float("inf") if record.max_error == 0 else float("-inf")
    return Figures(
        samples=1,
        max_error=record.max_error,
        sqnr_db=infinite if record.sqnr_db is None else record.sqnr_db,
        agreement=record.agreement,
        accuracy=record.accuracy,
    )


def summarize(validation: Validation, *, joined: bool = False) -> tuple[Summary, ...]:
    """The rows of a validation: failures first, the rows of one artifact together.

    Args:
        validation: The checks.
        joined: Put the runtimes in which a signature of an artifact passed in one row.
    """
    groups: dict[tuple[str, str, str], list[Check]] = defaultdict(list)
    for check in validation.checks:
        groups[check.artifact, check.runtime, check.signature].append(check)
    unordered = [_summary(checks) for checks in groups.values()]
    artifacts = list(dict.fromkeys(row.artifact for row in unordered))
    signatures = list(dict.fromkeys(row.signature for row in unordered))
    rows = sorted(
        unordered, key=lambda row: (row.passed, artifacts.index(row.artifact), signatures.index(row.signature))
    )
    return tuple(_joined(rows) if joined else rows)


def _summary(checks: Sequence[Check]) -> Summary:
    on_data = [check for check in checks if not check.is_edge]
    measured = of_outputs((check.output, check.measured) for check in on_data if check.measured is not None)
    compared = on_data and not any(check.measured is None and check.problem for check in on_data)
    edges = {check.case for check in checks if check.is_edge}
    return Summary(
        checks[0].artifact,
        (checks[0].runtime,),
        checks[0].signature,
        bool(on_data),
        worst(measured) or (Figures() if compared else None),
        len(edges),
        len({check.case for check in checks if check.is_edge and check.problem}),
        next((check.problem for check in checks if check.problem), None),
        bool(on_data) and all(check.is_reported for check in on_data),
    )


def _joined(rows: Sequence[Summary]) -> list[Summary]:
    worst: dict[tuple[str, str, str], Summary] = {}
    for row in rows:
        # Half precision has other figures than all others, which would be theirs as the worst.
        own = not row.passed or HALF in row.runtimes
        key = row.artifact, row.signature, row.runtimes[0] if own else ""
        worst[key] = _worst_of(worst[key], row) if key in worst else row
    return list(worst.values())


def _worst_of(one: Summary, other: Summary) -> Summary:
    return replace(
        one,
        runtimes=(*one.runtimes, *other.runtimes),
        on_data=one.on_data or other.on_data,
        figures=worst(each.figures for each in (one, other) if each.figures is not None),
        edges=max(one.edges, other.edges),
        is_reported=one.is_reported and other.is_reported,
    )
