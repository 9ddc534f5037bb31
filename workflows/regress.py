"""`regress`: examples to a served model, and a number for each back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnexport.core.progress import Progress, silent

from .connection import Connection
from .example_files import MAX_ROWS, ExampleSource, example_blocks, read_examples, signature_for
from .result import Block, Result, Table


@dataclass(frozen=True)
class RegressResult(Result):
    """A number for each example.

    Attributes:
        model: Name the model is served under.
        signature: The signature that ran.
        values: The numbers, in the order of the examples.
        output: The file that they were written to, if any.
    """

    model: str
    signature: str
    values: tuple[float, ...]
    output: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "signature": self.signature,
            "output": None if self.output is None else str(self.output),
            "results": list(self.values),
        }

    def blocks(self) -> Sequence[Block]:
        rows = [(str(number), f"{value:.6g}") for number, value in enumerate(self.values[:MAX_ROWS])]
        table = Table(("example", "value"), rows, ("example", "value"))
        return example_blocks(f"{self.model}, {self.signature}", table, len(self.values), self.output)


def regress(
    samples: ExampleSource,
    connection: Connection,
    *,
    version: int | None = None,
    label: str | None = None,
    signature: str | None = None,
    output: str | Path | None = None,
    progress: Progress = silent,
) -> RegressResult:
    """Compute a number for each example with a served model.

    Args:
        samples: Path of a .json, .csv or .npz with the features, or a list of dicts from feature to values.
        connection: The server and the model.
        version: The version; the newest if None.
        label: The version with this label, instead of `version`.
        signature: The signature; the only one whose method is regress if None.
        output: A .csv, .json or .npz file to write the numbers to.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if an argument is invalid, or no signature regresses.
        SamplesError: if the file cannot be read as examples.
        StorageError: if the output cannot be written.
        ServingError: if the server is unreachable, or refuses the call.

    Example:
        >>> from attnexport.core.errors import UnavailableError
        >>> try:
        ...     regress([{"rooms": 3}], Connection("prices", "127.0.0.1:1", timeout=0.5))
        ... except UnavailableError as error:
        ...     print(error.address)
        127.0.0.1:1
    """
    from .predict_outputs import output_path, write_outputs

    examples = read_examples(samples)
    target = None if output is None else output_path(output)
    progress(f"querying {connection.first_server}")
    with connection.client() as client:
        served = signature_for(client, "regress", signature, version, label)
        progress(f"computing {len(examples)} examples")
        values = client.regress(examples, signature=served.name, version=version, label=label)
    if target is not None:
        write_outputs(target, {"value": values})
    return RegressResult(connection.model, served.name, tuple(map(float, values)), target)
