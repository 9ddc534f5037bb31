"""What `attnexport tflite` prints: the files as a table, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from attnexport.workflows.sizes import kilobytes

from .tflite_auto import search_document, show_search

if TYPE_CHECKING:
    from rich.console import Console

    from .tflite_versions import TFLiteFile, TFLiteResult

_EVALUATION = ("SQNR", "agreement", "accuracy")


def result_document(result: TFLiteResult, notes: Sequence[str]) -> dict[str, Any]:
    """The result as JSON values."""
    return {
        "name": result.directory.name,
        "version": result.version,
        "directory": str(result.directory.root),
        "files": [_file_document(each) for each in result.files],
        "rejected": [{"recipe": each.recipe.name, "message": str(each.error)} for each in result.rejected],
        "search": None if result.search is None else search_document(result.search, result.recipe_path),
        "notes": list(notes),
    }


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
        "evaluation": None if file.evaluation is None else file.evaluation.to_dict("sqnr_db", "agreement", "accuracy"),
    }


def show_result(console: Console, result: TFLiteResult) -> None:
    """Draw the tables."""
    from rich.table import Table
    from rich.text import Text

    console.print(Text(f"{result.files[0].path.parent}: {result.directory.name} version {result.version}\n"))
    judged = any(each.evaluation for each in result.files)
    table = Table(box=None, pad_edge=False)
    for title in ("recipe", "size", "of float32", "parity", "partitions", *_EVALUATION * judged, "file"):
        table.add_column(title, overflow="fold")
    for file in result.files:
        conversion, worst = file.conversion, file.conversion.verdict.worst
        size = len(conversion.content)
        cells = (
            conversion.recipe.name,
            kilobytes(size),
            f"{size / conversion.float_size_bytes:.2f}",
            worst.description if worst else "no cases",
            "?" if file.partitions is None else str(file.partitions),
            *_figures(file) * judged,
            file.path.name + ("" if file.state == "new" else f" ({file.state})"),
        )
        table.add_row(*map(Text, cells))
    console.print(table)
    verdict = result.files[0].conversion.verdict
    case = verdict.findings[0].case if verdict.findings else "no samples"
    console.print(Text(f"\nParity is against {verdict.reference}, on {case}."))
    if result.search is not None:
        show_search(console, result.search, result.recipe_path)
    console.print(Text("\nNext:"))
    console.print(Text(f"  attnexport inspect {result.files[-1].path}"), soft_wrap=True)
    console.print(Text(f"  attnexport benchmark {result.directory.root}"), soft_wrap=True)


def _figures(file: TFLiteFile) -> tuple[str, ...]:
    from attnexport.parity.figures import cells

    if file.evaluation is None:
        return ("",) * len(_EVALUATION)
    sqnr, _, agreement, accuracy = cells(file.evaluation)
    return sqnr, agreement or "no classes", accuracy or "no labels"
