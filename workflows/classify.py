"""`classify`: examples to a served model, and their classes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.progress import Progress, silent

from .connection import Connection
from .example_files import MAX_ROWS, ExampleSource, example_blocks, read_examples, signature_for
from .result import Block, Result, Table

if TYPE_CHECKING:
    from attnexport.serving import ClassScore

_MAX_CLASSES = 3  # that are shown


@dataclass(frozen=True)
class ClassifyResult(Result):
    """The classes of examples.

    Attributes:
        model: Name the model is served under.
        signature: The signature that ran.
        classes: For each example its classes with their scores, in the model's order.
        output: The file that they were written to, if any.
    """

    model: str
    signature: str
    classes: tuple[tuple[ClassScore, ...], ...]
    output: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "signature": self.signature,
            "output": None if self.output is None else str(self.output),
            "results": [[asdict(each) for each in example] for example in self.classes],
        }

    def blocks(self) -> Sequence[Block]:
        rows = []
        for number, example in enumerate(self.classes[:MAX_ROWS]):
            best = [(each.label, f"{each.score:.4f}") for each in _best(example)[:_MAX_CLASSES]]
            label, score = best[0] if best else ("no classes", "")
            rows.append((str(number), label, score, ", ".join(" ".join(each) for each in best[1:])))
        table = Table(("example", "class", "score", "then"), rows, ("example", "score"))
        return example_blocks(f"{self.model}, {self.signature}", table, len(self.classes), self.output)


def classify(
    samples: ExampleSource,
    connection: Connection,
    *,
    version: int | None = None,
    label: str | None = None,
    signature: str | None = None,
    output: str | Path | None = None,
    progress: Progress = silent,
) -> ClassifyResult:
    """Classify examples with a served model.

    Args:
        samples: Path of a .json, .csv or .npz with the features, or a list of dicts from feature to values.
        connection: The server and the model.
        version: The version; the newest if None.
        label: The version with this label, instead of `version`.
        signature: The signature; the only one whose method is classify if None.
        output: A .csv, .json or .npz file to write the classes to.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if an argument is invalid, or no signature classifies.
        SamplesError: if the file cannot be read as examples.
        StorageError: if the output cannot be written.
        ServingError: if the server is unreachable, or refuses the call.

    Example:
        >>> from attnexport.core.errors import UnavailableError
        >>> try:
        ...     classify([{"text": "very good"}], Connection("sentiment", "127.0.0.1:1", timeout=0.5))
        ... except UnavailableError as error:
        ...     print(error.address)
        127.0.0.1:1
    """
    from .predict_outputs import output_path

    examples = read_examples(samples)
    target = None if output is None else output_path(output)
    progress(f"querying {connection.first_server}")
    with connection.client() as client:
        served = signature_for(client, "classify", signature, version, label)
        progress(f"classifying {len(examples)} examples")
        replies = client.classify(examples, signature=served.name, version=version, label=label)
    result = ClassifyResult(connection.model, served.name, tuple(map(tuple, replies)), target)
    if target is not None:
        _write(target, result)
    return result


def _best(example: Sequence[ClassScore]) -> list[ClassScore]:
    return sorted(example, key=lambda each: -each.score)


def _write(path: Path, result: ClassifyResult) -> None:
    """A .csv has the best class and all scores of each example; an .npz the labels and the scores as arrays."""
    import numpy as np

    from .predict_outputs import write_outputs

    labels = [each.label for each in result.classes[0]]
    best = [_best(example)[0] for example in result.classes]
    outputs = {
        "label": np.array([each.label.encode() for each in best], object),
        "score": np.array([each.score for each in best], np.float32),
    }
    for number, label in enumerate(labels):
        scores = [example[number].score for example in result.classes if len(example) > number]
        outputs[f"score of {label or number}"] = np.array(scores, np.float32)
    write_outputs(path, outputs)
