"""What `validate` and `write_cases` return: tables, JSON documents, and the verdict."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import StorageError
from attnexport.core.wording import worded_all

from .result import Block, Line, Picture, Result, Table
from .sizes import counted, kilobytes

if TYPE_CHECKING:
    from attnexport.parity import Validation
    from attnexport.parity.pareto import Candidate
    from attnexport.parity.report import Change, ComparedData

    from .layers import Inside


@dataclass(frozen=True)
class ValidationResult(Result):
    """The validation of a version: true if every check passed.

    Attributes:
        export: Path of the export directory.
        version: The version that was validated.
        verdict: Every check, with its figures and the problem of those that failed.
        data: The samples that were compared on.
        notes: What the user should know, a sentence each.
        candidates: The artifacts with size and SQNR, and with latency if a report was drawn.
        layers: The tensors inside the .tflite files, if they were asked for.
        report: The HTML report that was written, if any.
        against: The version that its artifacts are put beside; None without.
        changes: Its artifacts beside that version's.
        digest: The file of hashes that was written, if any.
        digest_hash: `sha256:...` of that file.
        report_error: Why the report could not be written; None if it was, or if none was asked for.
    """

    export: Path
    version: int
    verdict: Validation
    data: ComparedData
    notes: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    layers: Inside | None = None
    report: Path | None = None
    digest: Path | None = None
    digest_hash: str | None = None
    report_error: StorageError | None = None
    against: int | None = None
    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.verdict)

    @property
    def only_numbers_failed(self) -> bool:
        """Whether every failure is one of a budget or limit, and none of shape, type, finiteness or running at all."""
        return self.verdict.only_numbers_failed

    @property
    def only_servers_failed(self) -> bool:
        """Whether every failure is of a server that refused all calls."""
        return self.verdict.only_servers_failed

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a passed verdict does not say, a sentence each."""
        return worded_all(
            f"{each} was not judged: the samples are made up and it was calibrated on yours, so its errors are only "
            "reported; give --evaluation"
            for each in self.verdict.only_reported
        )

    @property
    def failure(self) -> str | None:
        """How many checks failed, and the first of them; None if all passed."""
        failures = self.verdict.failures
        if not failures:
            return None
        return f"{len(failures)} of {len(self.verdict.checks)} checks failed; the first: {failures[0]}"

    def write_failed_input(self, path: str | Path) -> Path | None:
        """Write the sample on which the first failed check is worst, as `evaluation` takes it.

        Args:
            path: The .npz file to write.

        Returns:
            The file; None if no check failed, or if no sample shows the failure.

        Raises:
            StorageError: The file cannot be written.
        """
        sample = self.verdict.failures[0].offending if self.verdict.failures else None
        if not sample:
            return None
        import numpy as np

        from attnexport.core.os_errors import writing
        from attnexport.store.files import replacing

        content = io.BytesIO()  # numpy would add a suffix to a temporary name
        np.savez(content, **sample)  # type: ignore[arg-type]
        with writing(Path(path)), replacing(Path(path)) as temporary:
            temporary.write_bytes(content.getvalue())
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "name": self.export.absolute().name,
            "version": self.version,
            "reference": self.verdict.reference,
            "data": vars(self.data),
            "passed": bool(self),
            "checks": [check.to_json() for check in self.verdict.checks],
            "notes": list(self.notes),
            "report": None if self.report is None else str(self.report),
            "digest": None if self.digest is None else {"path": str(self.digest), "hash": self.digest_hash},
            **({} if self.layers is None else {"layers": self.layers.to_json()}),
            **({} if self.against is None else {"against": self._against_document()}),
        }

    def blocks(self) -> Sequence[Block]:
        """A table, failures first; runtimes in which a signature passed share a row, with their worst figures."""
        from attnexport.parity.summary import TITLES, summarize

        rows = [row.cells for row in summarize(self.verdict, joined=True)]
        blocks: list[Block] = [
            f"{self.export}, compared with {self.verdict.reference} on {self.data.name}\n",
            Table(TITLES, [*self._reference_row(TITLES), *rows], ("SQNR", "max error", "agreement", "accuracy")),
        ]
        if self.changes:
            blocks += [f"\nbeside version {self.against}:\n", _changes_table(self.changes)]
        blocks += [f"  {each}" for each in self._not_judged()]
        blocks.append(f"\n{self._summary()}")
        if self.layers is not None:
            blocks += self.layers.blocks()
        if self.digest is not None:
            blocks.append(Line(f"The digest is {self.digest_hash}, of {self.digest}"))
        if self.report is not None:
            blocks.append(Line(f"\nThe report is {self.report}"))
        return blocks

    def _against_document(self) -> dict[str, Any]:
        from attnexport.parity.figures import finite_json

        names = ("size_bytes", "sqnr_db", "agreement", "accuracy")
        artifacts = [
            {
                "name": each.name,
                "before": dict(zip(names, each.before, strict=True)),
                "after": dict(zip(names, each.after, strict=True)),
            }
            for each in self.changes
        ]
        document: dict[str, Any] = finite_json({"version": self.against, "artifacts": artifacts})
        return document

    def _reference_row(self, titles: Sequence[str]) -> list[tuple[str, ...]]:
        """The original's own accuracy, if there are labels."""
        from attnexport.parity.figures import percentage

        accuracies = (each.measured.reference_accuracy for each in self.verdict.checks if each.measured is not None)
        accuracy = next((each for each in accuracies if each is not None), None)
        if accuracy is None:
            return []
        cells = {"artifact": self.verdict.reference, "accuracy": percentage(accuracy)}
        return [tuple(cells.get(title, "") for title in titles)]

    def notebook_blocks(self) -> Sequence[Block]:
        """The verdict, what each artifact pays in size for its error, and the table."""
        verdict = f"✗ Failed: {self.failure}" if self.failure else f"✓ Passed: all {len(self.verdict.checks)} checks"
        return [verdict, *self._pictures(), *self.blocks()]

    def _summary(self) -> str:
        """How much was compared, and what was not judged."""
        checks, failed = self.verdict.checks, len(self.verdict.failures)
        artifacts = len({check.artifact for check in checks})
        parts = [
            f"{counted(len(checks), 'comparison')} of {counted(artifacts, 'artifact')}",
            f"{failed} failed" if failed else "none failed",
        ]
        if reported := self.verdict.only_reported:
            parts.append(f"only reported, as the samples are made up: {', '.join(reported)}")
        parts += [each for each in self.notes if "not compared" in each]
        return "; ".join(parts)

    def _not_judged(self) -> list[str]:
        """The columns that were not judged, by artifact and output, a sentence each."""
        found: dict[str, None] = {}
        for check in self.verdict.checks:
            columns = None if check.measured is None or check.is_edge else check.measured.columns
            if columns is not None and columns.why_not_judged:
                found[f"{check.artifact}, {check.signature} output {check.output!r}: {columns.why_not_judged}"] = None
        return list(found)

    def _pictures(self) -> Iterator[Picture]:
        from attnexport.parity.report.trade_off import trade_offs

        for drawn in trade_offs(self.candidates):
            yield Picture(drawn.svg, drawn.alt)


def _changes_table(changes: Sequence[Change]) -> Table:
    """Size and figures of each artifact, in the other version and in this one."""
    from attnexport.parity.figures import decibels, percentage, share

    def size(value: int | None) -> str:
        return "" if value is None else kilobytes(value)

    def pair(words: Callable[[Any], str], number: int, change: Change) -> str:
        before, after = words(change.before[number]), words(change.after[number])
        return before if before == after else f"{before or 'none'} → {after or 'none'}"

    columns = ("artifact", "size", "SQNR", "agreement", "accuracy")
    words = (size, decibels, share, percentage)
    rows = [(each.name, *(pair(text, number, each) for number, text in enumerate(words))) for each in changes]
    return Table(columns, rows, columns[1:])


@dataclass(frozen=True)
class CasesResult(Result):
    """The cases that were written for a device.

    Attributes:
        name: Name of the export.
        version: Its version.
        cases: The .npz file.
        count: Number of cases in it.
        artifacts: Paths, within the export, of the .tflite files they are for.
        notes: What the user should know, a sentence each.
    """

    name: str
    version: int
    cases: Path
    count: int
    artifacts: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "name": self.name,
            "version": self.version,
            "cases": str(self.cases),
            "count": self.count,
            "artifacts": list(self.artifacts),
            "notes": list(self.notes),
        }

    def blocks(self) -> Sequence[Block]:
        return [Line(f"{self.count} cases for a device are in {self.cases}")]
