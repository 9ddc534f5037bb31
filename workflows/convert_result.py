"""The result of `convert`: .tflite files, recipes that failed, and what a search measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.printable import shell_word

from .conversion_search import search_blocks, search_document, search_html
from .result import Block, Line, Result, Table
from .sizes import kilobytes

if TYPE_CHECKING:
    from attnexport.parity import Figures
    from attnexport.tflite import Conversion, Rejected
    from attnexport.tflite.search import SearchResult

_EVALUATION = ("SQNR", "agreement", "accuracy")


@dataclass(frozen=True)
class TFLiteFile:
    """A .tflite file of a version.

    Attributes:
        path: The file.
        conversion: How it was made, and how it compares with the original.
        state: "new", "replaced", "repaired" or "up to date".
        partitions: Parts of the graph that XNNPACK runs; None if they cannot be determined here.
        evaluation: Its figures on the evaluation samples; None without.
    """

    path: Path
    conversion: Conversion
    state: str
    partitions: int | None
    evaluation: Figures | None


@dataclass(frozen=True)
class ConvertResult(Result):
    """The .tflite files that passed their checks, and the recipes that failed.

    Attributes:
        directory: The export directory.
        version: The version that the files were added to.
        files: The files, in the order of their recipes.
        rejected: Recipes that failed, each with its error.
        notes: What the model's owner should know, a sentence each.
        search: What the search for the recipe `auto` measured; None without.
        recipe_path: The file of the recipe that the search chose; None if it chose none.
    """

    directory: Path
    version: int
    files: tuple[TFLiteFile, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]
    search: SearchResult | None = None
    recipe_path: Path | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the search was interrupted, so that the best candidate so far was taken."""
        return self.search is not None and self.search.interrupted

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.directory.name,
            "version": self.version,
            "directory": str(self.directory),
            "files": [_file_document(each) for each in self.files],
            "rejected": [
                {"recipe": each.recipe.name, "message": str(each.error), "advice": each.advice}
                for each in self.rejected
            ],
            "search": None if self.search is None else search_document(self.search, self.recipe_path),
            "notes": list(self.notes),
        }

    def blocks(self) -> Sequence[Block]:
        verdict = self.files[0].conversion.verdict
        case = verdict.findings[0].case if verdict.findings else "no samples"
        return [
            f"{self.files[0].path.parent}: {self.directory.name} version {self.version}\n",
            self._table(),
            f"\nParity is against {verdict.reference}, on {case}.{self._evaluated_on()}",
            *([] if self.search is None else search_blocks(self.search, self.recipe_path, verdict.reference)),
            "\nNext:",
            Line(f"  attnexport inspect {shell_word(str(self.files[-1].path))}"),
            Line(f"  attnexport benchmark {shell_word(str(self.directory))}"),
        ]

    def _evaluated_on(self) -> str:
        """Which columns are of the evaluation samples, and not of the held-out ones of the calibration."""
        samples = max((each.evaluation.samples for each in self.files if each.evaluation), default=0)
        return f" SQNR, agreement and accuracy are on the {samples} evaluation samples." if samples else ""

    def _repr_html_(self) -> str:
        html = super()._repr_html_()
        return html if self.search is None else f"{html}\n{search_html(self.search)}"

    def _reference_accuracy(self) -> float | None:
        """The original's own accuracy on the evaluation samples, if they have labels."""
        accuracies = (each.evaluation.reference_accuracy for each in self.files if each.evaluation)
        return next((each for each in accuracies if each is not None), None)

    def _table(self) -> Table:
        from attnexport.parity.figures import percentage

        evaluated = any(each.evaluation for each in self.files)
        reference = self._reference_accuracy()
        columns = (
            "recipe",
            "size",
            "of float32",
            "parity",
            "worst column",
            "partitions",
            *_EVALUATION * evaluated,
            "file",
        )
        rows = []
        if reference is not None:
            name = self.files[0].conversion.verdict.reference
            rows.append((name, *[""] * (len(columns) - 3), percentage(reference), ""))
        for file in self.files:
            conversion, worst = file.conversion, file.conversion.verdict.worst
            size = len(conversion.content)
            cells = (
                conversion.recipe.name,
                kilobytes(size),
                f"{size / conversion.float_size_bytes:.2f}",
                worst.description if worst else "no cases",
                _worst_column(file),
                "?" if file.partitions is None else str(file.partitions),
                *_figures(file) * evaluated,
                file.path.name + ("" if file.state == "new" else f" ({file.state})"),
            )
            rows.append(cells)
        return Table(columns, rows)


def _file_document(file: TFLiteFile) -> dict[str, Any]:
    conversion = file.conversion
    return {
        "recipe": conversion.recipe.name,
        "path": str(file.path),
        "state": file.state,
        "size_bytes": len(conversion.content),
        "float_size_bytes": conversion.float_size_bytes,
        "calibrator": conversion.calibrator,
        "weight_algorithm": conversion.weight_algorithm,
        "peak_memory_bytes": conversion.peak_memory_bytes,
        "partitions": file.partitions,
        "signatures": [asdict(signature) for signature in conversion.signatures.values()],
        "parity": conversion.verdict.to_json(),
        "evaluation": None
        if file.evaluation is None
        else file.evaluation.to_dict("sqnr_db", "agreement", "accuracy", "columns"),
    }


def _worst_column(file: TFLiteFile) -> str:
    """The worst column, in the gate and on the evaluation samples."""
    from attnexport.parity.figures import column, of_outputs, worst_columns

    findings = file.conversion.verdict.findings
    measured = of_outputs((each.output, each.measured) for each in findings if each.measured is not None)
    if file.evaluation is not None:
        measured.append(file.evaluation)
    return column(worst_columns(each.columns for each in measured))


def _figures(file: TFLiteFile) -> tuple[str, ...]:
    from attnexport.parity.figures import cells

    if file.evaluation is None:
        return ("",) * len(_EVALUATION)
    sqnr, _, _, agreement, accuracy = cells(file.evaluation)
    return sqnr, agreement or "no classes", accuracy or "no labels"
