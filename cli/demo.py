"""`attnexport demo`: the whole way on real data, in one command."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .command import command
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.exporter import ExportResult


@dataclass(frozen=True)
class _Row:
    """One exported model of the demo, accuracies 0 to 1 on the held-out digits."""

    model: str
    keras_accuracy: float
    saved_model_accuracy: float
    parity: str
    size_bytes: int
    saved_model: str


@command("demo")
@click.option("-o", "--output", default="attnexport-demo", show_default=True, help="Where everything is written.")
def demo(terminal: Terminal, output: str) -> None:
    """Train on real digits, export, compare.

    Trains two attention models on scikit-learn's handwritten digits, exports them and measures the exports.
    """
    directory = Path(output)
    with terminal.steps() as on_step:
        on_step("loading TensorFlow")
        from attnexport.examples import digits
        from attnexport.exporter import export_saved_model

        trained = digits.train_digits(directory / "digits", on_step=on_step)
        rows = []
        for name, keras_file in trained.models.items():
            on_step(f"exporting {name}")
            exported = export_saved_model(
                keras_file,
                directory / "export",
                output_names=["logits"],
                labels=digits.LABELS,
                warmup=trained.calibration,
            )
            on_step(f"evaluating {name}")
            accuracy = _accuracy(exported, trained.evaluation)
            rows.append(_row(name, trained.accuracies[name], accuracy, exported))
    document = {
        "calibration": str(trained.calibration),
        "evaluation": str(trained.evaluation),
        "models": [asdict(row) for row in rows],
    }
    terminal.result(document, lambda console: _show(console, directory, rows, digits.HELD_OUT))


def _accuracy(exported: ExportResult, evaluation: Path) -> float:
    """Accuracy of a SavedModel in a session on labelled samples."""
    from attnexport.core import DEFAULT_SIGNATURE, SamplesError, batched, load_samples
    from attnexport.exporter import SavedModelRunner
    from attnexport.parity import agreement

    with closing(SavedModelRunner(exported.path)) as runner:
        samples = load_samples(evaluation, runner.signatures[DEFAULT_SIGNATURE].inputs)
        logits = batched(runner, samples.inputs)["logits"]
    if samples.labels is None:
        raise SamplesError(f"{evaluation} holds no labels")
    return agreement(samples.labels, logits)


def _row(name: str, keras_accuracy: float, accuracy: float, exported: ExportResult) -> _Row:
    worst = exported.verdict.worst
    return _Row(
        model=name,
        keras_accuracy=round(keras_accuracy, 4),
        saved_model_accuracy=round(accuracy, 4),
        parity=worst.figures if worst else "no cases",
        size_bytes=exported.saved_model.size_bytes,
        saved_model=str(exported.path),
    )


def _show(console: Console, directory: Path, rows: list[_Row], held_out: int) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("model", "Keras", "SavedModel", "parity in a session", "size", "SavedModel is in"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(
            row.model,
            f"{row.keras_accuracy:.1%}",
            f"{row.saved_model_accuracy:.1%}",
            row.parity,
            f"{row.size_bytes / 1000:,.0f} kB",
            row.saved_model,
        )
    console.print(f"Handwritten digits, accuracy on {held_out} held-out images:\n")
    console.print(table)
    console.print(f"\nTrained models and their samples are in {directory / 'digits'}.", soft_wrap=True)
