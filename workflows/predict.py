"""`predict`: samples to a served model, and its outputs back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import RefusedError, check_size, no_such
from attnexport.core.printable import printable
from attnexport.core.progress import Progress, silent
from attnexport.core.signature import DEFAULT_SIGNATURE

from .connection import Connection
from .result import Block, Line, Result

if TYPE_CHECKING:
    from attnexport.core import Arrays, Signature
    from attnexport.serving import Client, Prediction

    from .predict_inputs import Source


@dataclass(frozen=True)
class PredictResult(Result):
    """The outputs of a served model.

    Attributes:
        prediction: Arrays `[n, ...]` by output name, and the version that computed them.
        signature: The signature that ran.
        output: The file that the outputs were written to, if any.
        notes: What was changed to make inputs or outputs fit.
    """

    prediction: Prediction
    signature: str
    output: Path | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        from .predict_inputs import json_values

        outputs: dict[str, dict[str, Any]] = {}
        for name, array in self.prediction.items():
            outputs[name] = {"dtype": _dtype(array), "shape": list(array.shape)}
            if self.output is None:
                outputs[name]["values"] = json_values(array)
        return {
            "model": self.prediction.model,
            "version": self.prediction.version,
            "signature": self.signature,
            "output": None if self.output is None else str(self.output),
            "outputs": outputs,
        }

    def blocks(self) -> Sequence[Block]:
        import numpy as np

        version = "" if self.prediction.version is None else f" version {self.prediction.version}"
        lines: list[Block] = [Line(f"{self.prediction.model}{version}, {self.signature}\n")]
        for name, array in self.prediction.items():
            lines.append(Line(f"{printable(name)}: {_dtype(array)} {list(array.shape)}"))
            if self.output is None:
                lines.append(
                    Line(np.array2string(array, threshold=200, edgeitems=3, max_line_width=100), is_program=True)
                )
        if self.output is not None:
            lines.append(Line(f"\nwritten to {self.output}"))
        return lines


def predict(
    samples: str | Source,
    connection: Connection,
    *,
    version: int | None = None,
    label: str | None = None,
    signature: str = DEFAULT_SIGNATURE,
    batch: int | None = None,
    output: str | Path | None = None,
    progress: Progress = silent,
) -> PredictResult:
    """Run a served model on samples.

    The samples are matched by name and checked with the server's own signature before they are sent.

    Args:
        samples: Path of an .npz or .json file with one array `[n, ...]` per input, or of an .npy file for a single
            input; or such arrays themselves; or the bytes of such a file, as read from standard input.
        connection: The server and the model.
        version: The version; the newest if None.
        label: The version with this label, instead of `version`.
        signature: The signature to run.
        batch: Samples in one call at most, for a signature whose first dimension is a batch: free in every input and
            output. All samples go in one call if None; a signature with a fixed batch is always sent in that.
        output: An .npz, .json or .csv file to write the outputs to.
        progress: Called with how many samples are done.

    Raises:
        ArgumentError: if an argument is invalid, or a file does not exist.
        SamplesError: if the samples do not fit the signature.
        StorageError: if the output cannot be written.
        ServingError: if the server is unreachable, or refuses the call.

    Example:
        >>> from attnexport.core.errors import UnavailableError
        >>> try:
        ...     predict([[1.0, 2.0]], Connection("classifier", "127.0.0.1:1", timeout=0.5))
        ... except UnavailableError as error:
        ...     print(error.address)
        127.0.0.1:1
    """
    if batch is not None:
        check_size("batch", batch)
    from .predict_outputs import output_path, write_outputs

    target = None if output is None else output_path(output)
    from attnexport.serving.client.batches import check_batch

    from .predict_inputs import open_source, read_inputs

    source = open_source(samples)
    progress(f"querying {connection.first_server}")
    with connection.client() as client:
        served = _signature(client, signature, version, label)
        if batch is not None:
            check_batch(served, served.fixed_batch or batch)
        inputs, notes = read_inputs(source, served)
        prediction = _predict_all(client, inputs, served, batch, version, label, progress)
    if target is not None:
        notes += write_outputs(target, prediction)
    return PredictResult(prediction, served.name, target, notes)


def _signature(client: Client, name: str, version: int | None, label: str | None) -> Signature:
    """The server's own signature of that name."""
    metadata = client.metadata(version=version, label=label)
    if name not in metadata.signatures:
        address = client.addresses[0]
        raise RefusedError(f"{address}: model {metadata.model!r}: {no_such('signature', name, metadata.signatures)}")
    return metadata.signatures[name]


def _predict_all(
    client: Client,
    inputs: Arrays,
    signature: Signature,
    batch: int | None,
    version: int | None,
    label: str | None,
    progress: Progress,
) -> Prediction:
    """All samples, a few batches at a time if they are to be split: each has the timeout of a call."""
    import numpy as np

    from attnexport.core.batches import fill_batch
    from attnexport.serving import Prediction
    from attnexport.serving.client.batches import can_be_split

    size = signature.fixed_batch or batch
    counts = {len(array) if array.ndim else None for array in inputs.values()}
    total = counts.pop() if len(counts) == 1 else None
    if size is None or total is None or not can_be_split(signature, (), size):
        progress("predicting")
        return client.predict(inputs, signature=signature.name, version=version, label=label)
    done = 0

    def count(samples: int) -> None:
        nonlocal done
        done += samples
        progress("predicting samples", done=min(done, total), total=total)

    count(0)
    replies: list[Prediction] = []
    step = size * client.options.max_concurrent
    for start in range(0, total, step):
        part = {name: np.asarray(array[start : start + step]) for name, array in inputs.items()}
        if signature.fixed_batch:
            part = fill_batch(part, size)
        replies.append(
            client.predict(part, signature=signature.name, version=version, label=label, max_batch=size, on_batch=count)
        )
    outputs = {name: np.concatenate([each[name] for each in replies])[:total] for name in replies[0]}
    versions = sorted({number for each in replies for number in each.versions})
    return Prediction(outputs, replies[0].model, tuple(versions))


def _dtype(array: Any) -> str:
    return "string" if array.dtype == object else str(array.dtype.name)
