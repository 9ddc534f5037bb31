"""A validation in rows: the worst figures of each artifact's signature."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from attnexport.store.manifest import CheckRecord

from .validation import Check, Validation
from .verdict import finite_json

TITLES = ("artifact", "runtime", "signature", "SQNR", "max error", "agreement", "accuracy", "edges", "verdict")


@dataclass(frozen=True)
class Summary:
    """The worst figures of one signature of an artifact, in a runtime or in several that all passed.

    Attributes:
        artifact: Path within the export.
        runtimes: What ran it.
        signature: Its name.
        on_data: Whether it was compared on samples, rather than on edge cases alone.
        sqnr_db: The least, in dB; infinite where nothing differs, None where nothing was measured.
        max_error: The greatest, in the output's own unit.
        agreement: The least share of samples with the original's top class, 0 to 1.
        accuracy: The least share of right samples, 0 to 1.
        edges: How many edge cases there were.
        failed_edges: How many of them failed.
        problem: Why it fails, None where it passed.
    """

    artifact: str
    runtimes: tuple[str, ...]
    signature: str
    on_data: bool
    sqnr_db: float | None
    max_error: float | None
    agreement: float | None
    accuracy: float | None
    edges: int
    failed_edges: int
    problem: str | None

    @property
    def passed(self) -> bool:
        return self.problem is None

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of a table under TITLES."""
        return (
            self.artifact,
            ", ".join(self.runtimes),
            self.signature,
            decibels(self.sqnr_db),
            "" if self.max_error is None else f"{self.max_error:.2g}",
            "" if self.agreement is None else f"{self.agreement:.4f}",
            "" if self.accuracy is None else f"{self.accuracy:.1%}",
            f"{self.edges - self.failed_edges} of {self.edges}" if self.edges else "none",
            "passed" if self.passed else "FAILED",
        )

    def to_record(self) -> CheckRecord:
        """Its verdict and figures as the manifest keeps them."""
        return CheckRecord(
            ", ".join(self.runtimes),
            self.signature,
            self.passed,
            finite_json(self.sqnr_db),
            finite_json(self.max_error),
            self.agreement,
            self.accuracy,
            self.problem,
        )


def summarize(validation: Validation, *, joined: bool = False) -> tuple[Summary, ...]:
    """The rows of a validation, those that failed first, and what is of one artifact together.

    Args:
        validation: What was found.
        joined: Put the runtimes of an artifact's signature that all passed in one row.
    """
    groups: dict[tuple[str, str, str], list[Check]] = defaultdict(list)
    for check in validation.checks:
        groups[check.artifact, check.runtime, check.signature].append(check)
    found = [_summary(checks) for checks in groups.values()]
    artifacts = list(dict.fromkeys(row.artifact for row in found))
    signatures = list(dict.fromkeys(row.signature for row in found))
    rows = sorted(found, key=lambda row: (row.passed, artifacts.index(row.artifact), signatures.index(row.signature)))
    return tuple(_joined(rows) if joined else rows)


def decibels(sqnr_db: float | None) -> str:
    """An SQNR as people read it."""
    if sqnr_db is None:
        return ""
    return "equal" if sqnr_db == math.inf else f"{sqnr_db:.1f} dB"


def _summary(checks: Sequence[Check]) -> Summary:
    on_data = [check for check in checks if not check.is_edge]
    measured = [check.measured for check in on_data if check.measured is not None]
    compared = on_data and not any(check.measured is None and check.problem for check in on_data)
    edges = {check.case for check in checks if check.is_edge}
    return Summary(
        checks[0].artifact,
        (checks[0].runtime,),
        checks[0].signature,
        bool(on_data),
        min((each.sqnr_db for each in measured), default=math.inf if compared else None),
        max((each.max_error for each in measured), default=None),
        min((each.top_1_agreement for each in measured if each.top_1_agreement is not None), default=None),
        min((each.accuracy for each in measured if each.accuracy is not None), default=None),
        len(edges),
        len({check.case for check in checks if check.is_edge and check.problem}),
        next((check.problem for check in checks if check.problem), None),
    )


def _joined(rows: Sequence[Summary]) -> list[Summary]:
    found: dict[tuple[str, str, str], Summary] = {}
    for row in rows:
        key = row.artifact, row.signature, "" if row.passed else row.runtimes[0]
        found[key] = _worst_of(found[key], row) if key in found else row
    return list(found.values())


def _worst_of(one: Summary, other: Summary) -> Summary:
    def pick(choose: Any, name: str) -> Any:
        values = [getattr(each, name) for each in (one, other) if getattr(each, name) is not None]
        return choose(values, default=None)

    return replace(
        one,
        runtimes=(*one.runtimes, *other.runtimes),
        on_data=one.on_data or other.on_data,
        sqnr_db=pick(min, "sqnr_db"),
        max_error=pick(max, "max_error"),
        agreement=pick(min, "agreement"),
        accuracy=pick(min, "accuracy"),
        edges=max(one.edges, other.edges),
    )
