"""What the demo returns: its artifacts with size, latency and accuracy, what was served, and the validations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .result import Block, Line, Result, Table
from .sizes import kilobytes

if TYPE_CHECKING:
    from attnexport.parity import Figures

    from .validation_result import ValidationResult

_NUMBERS = ("size", "latency", "accuracy", "agreement", "SQNR")
_SERVED = ("over gRPC", "over REST", "int8 over gRPC")


@dataclass(frozen=True)
class DemoArtifact:
    """One artifact of the demo.

    Attributes:
        model: Name of the model.
        artifact: Keras, SavedModel, or the recipe of a .tflite.
        size_bytes: Its size.
        latency_ms: Median of a call with one image, measured side by side with the model's other artifacts.
        evaluation: Figures on the held-out digits, against Keras.
        path: The file or directory.
    """

    model: str
    artifact: str
    size_bytes: int
    latency_ms: float
    evaluation: Figures
    path: Path

    def to_dict(self) -> dict[str, Any]:
        """The artifact as JSON values."""
        figures = self.evaluation.to_dict("sqnr_db", "agreement", "accuracy")
        return {**asdict(self), "evaluation": figures, "path": str(self.path)}


@dataclass(frozen=True)
class ServedAccuracy:
    """Accuracy, 0 to 1, of a served model over gRPC and REST, and of its int8 file over gRPC."""

    model: str
    grpc_accuracy: float
    rest_accuracy: float
    int8_accuracy: float


@dataclass(frozen=True)
class DemoResult(Result):
    """Everything the demo did.

    Attributes:
        directory: Where everything was written.
        calibration: Samples of the training split.
        evaluation: Held-out samples with labels.
        held_out: Number of held-out samples.
        artifacts: Keras models and everything exported from them.
        served: Accuracies of the served models.
        validated: The validation of each export, by the model's name.
    """

    directory: Path
    calibration: Path
    evaluation: Path
    held_out: int
    artifacts: tuple[DemoArtifact, ...]
    served: tuple[ServedAccuracy, ...]
    validated: dict[str, ValidationResult]

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the validations, a sentence each."""
        return tuple(note for each in self.validated.values() for note in each.notes)

    def to_dict(self) -> dict[str, Any]:
        return {
            "calibration": str(self.calibration),
            "evaluation": str(self.evaluation),
            "artifacts": [each.to_dict() for each in self.artifacts],
            "served": [asdict(each) for each in self.served],
            "validated": [
                {"model": name, "passed": bool(each), "checks": len(each.verdict.checks), "report": str(each.report)}
                for name, each in self.validated.items()
            ],
        }

    def blocks(self) -> Sequence[Block]:
        blocks: list[Block] = [
            f"Handwritten digits: {self.held_out} held-out images, one per call; agreement and SQNR are with Keras.\n",
            Table(("model", "artifact", *_NUMBERS, "path"), [self._row(each) for each in self.artifacts], _NUMBERS),
            "\nAccuracy on all of them, served by the embedded server:\n",
            Table(("model", *_SERVED), [_served_row(each) for each in self.served], _SERVED),
            f"\nEverything is in {self.directory}; the trained models and their samples are in "
            f"{self.directory / 'digits'}.",
        ]
        for validation in self.validated.values():
            blocks += [Line("\nValidated in every runtime:"), *validation.blocks()]
        return blocks

    def _row(self, artifact: DemoArtifact) -> Sequence[str]:
        from attnexport.parity.figures import decibels, percentage, share

        return (
            artifact.model if artifact.artifact == "Keras" else "",
            artifact.artifact,
            kilobytes(artifact.size_bytes),
            f"{artifact.latency_ms:.3f} ms",
            percentage(artifact.evaluation.accuracy),
            share(artifact.evaluation.agreement),
            decibels(artifact.evaluation.sqnr_db),
            str(artifact.path.relative_to(self.directory)),
        )


def _served_row(served: ServedAccuracy) -> Sequence[str]:
    accuracies = (served.grpc_accuracy, served.rest_accuracy, served.int8_accuracy)
    return (served.model, *(f"{accuracy:.1%}" for accuracy in accuracies))
