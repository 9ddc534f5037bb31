"""`attnexport predict`: samples to a served model, and its outputs back."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ArgumentError, check_size
from attnexport.core.os_errors import writing
from attnexport.store.files import replacing

from .client_options import client_options, connect, version_options
from .command import command
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.core import Arrays, Signature
    from attnexport.serving import Client, Prediction

_BATCH = 32  # samples; what servers that batch themselves take, too


@command("predict", example="attnexport predict --model classifier --input samples.npz --output logits.npz")
@client_options
@version_options
@click.option(
    "--input",
    "source",
    metavar="FILE|-",
    required=True,
    help="Samples: an .npz or .json with one array per input, an .npy or a lone array for a single input; - for stdin.",
)
@click.option("--signature", default="serving_default", show_default=True, help="The signature to run.")
@click.option("--batch", type=int, default=_BATCH, show_default=True, help="The most samples in one call.")
@click.option("--output", metavar="FILE.npz", help="Write the outputs here instead of showing them.")
def predict(terminal: Terminal, **options: Any) -> None:
    """Query a model on TF Serving.

    Inputs are matched by name and checked with the server's own signature before they are sent.
    """
    check_size("batch", options["batch"])
    target = None if options["output"] is None else _output_path(options["output"])
    from .predict_inputs import open_source, read_inputs

    source = open_source(options["source"])
    with terminal.steps() as on_step:
        on_step(f"asking {options['servers'][0]}")
        with connect(options) as client:
            where = {"version": options["version"], "label": options["label"]}
            signature = _signature(client, options["signature"], where)
            inputs, notes = read_inputs(source, signature)
            for note in notes:
                terminal.note(note)
            on_step("predicting")
            prediction = _stream(terminal, client, inputs, signature, options["batch"], where)
    if target is not None:
        for note in _write(target, prediction):
            terminal.note(note)
    document = _document(prediction, signature.name, target)
    terminal.result(document, lambda console: _show(console, prediction, signature.name, target))


def _output_path(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".npz":
        raise ArgumentError(f"--output {text} is not a FILE.npz")
    if path.is_dir() or not path.parent.is_dir():
        what = "is a directory" if path.is_dir() else f"is in {path.parent}, which is no directory"
        raise ArgumentError(f"--output {text} {what}")
    return path


def _signature(client: Client, name: str, where: dict[str, Any]) -> Signature:
    """The signature, of which the server must know."""
    from attnexport.core.errors import RefusedError, no_such

    metadata = client.metadata(**where)
    if name not in metadata.signatures:
        address = client.balancer.addresses[0]
        raise RefusedError(f"{address}: model {metadata.model!r}: {no_such('signature', name, metadata.signatures)}")
    return metadata.signatures[name]


def _stream(
    terminal: Terminal, client: Client, inputs: Arrays, signature: Signature, batch: int, where: dict[str, Any]
) -> Prediction:
    """All samples, a few batches at a time: each has the time-out of a call, and memory-mapped files stay on disk."""
    import numpy as np

    from attnexport.serving import Prediction

    if not signature.is_batched or not all(array.ndim for array in inputs.values()):
        return client.predict(inputs, signature=signature.name, **where)
    size = signature.fixed_batch or batch
    total = len(next(iter(inputs.values())))
    step = size * client.options.max_concurrent
    answers: list[Prediction] = []
    with terminal.progress("samples", total) as advance:
        for start in range(0, total, step):
            part = {name: np.asarray(array[start : start + step]) for name, array in inputs.items()}
            missing = -len(part[signature.inputs[0].name]) % size if signature.fixed_batch else 0
            if missing:  # a signature of fixed batch takes whole batches only
                part = {name: np.concatenate([each, each[-1:].repeat(missing, 0)]) for name, each in part.items()}
            answers.append(client.predict(part, signature=signature.name, max_batch=size, on_batch=advance, **where))
    outputs = {name: np.concatenate([each[name] for each in answers])[:total] for name in answers[0]}
    versions = sorted({version for each in answers for version in each.versions})
    return Prediction(outputs, answers[0].model, tuple(versions))


def _write(path: Path, prediction: Prediction) -> list[str]:
    """The outputs as an .npz; a sentence for each that had to change to fit in."""
    import numpy as np

    notes, arrays = [], {}
    for name, array in prediction.items():
        arrays[name] = array
        if array.dtype == object:
            if any(item.endswith(b"\0") for item in array.reshape(-1).tolist()):
                notes.append(f"{name!r} holds strings that end in NUL bytes, which numpy cuts off")
            arrays[name] = array.astype(np.bytes_)
        elif array.dtype.kind == "V":  # one of ml_dtypes, which other readers of .npz do not know
            notes.append(f"{name!r} was written as float32, from {array.dtype.name}")
            arrays[name] = array.astype(np.float32)
    # Not by np.savez, whose own arguments (file, allow_pickle) no output could be called.
    with writing(path), replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
    return notes


def _document(prediction: Prediction, signature: str, target: Path | None) -> dict[str, Any]:
    from .predict_inputs import json_values

    outputs = {}
    for name, array in prediction.items():
        outputs[name] = {"dtype": _dtype(array), "shape": list(array.shape)}
        if target is None:
            outputs[name]["values"] = json_values(array)
    return {
        "model": prediction.model,
        "version": prediction.version,
        "signature": signature,
        "output": None if target is None else str(target),
        "outputs": outputs,
    }


def _dtype(array: Any) -> str:
    return "string" if array.dtype == object else str(array.dtype.name)


def _show(console: Console, prediction: Prediction, signature: str, target: Path | None) -> None:
    import numpy as np
    from rich.text import Text

    version = "" if prediction.version is None else f" version {prediction.version}"
    console.print(Text(f"{prediction.model}{version}, {signature}\n"))
    for name, array in prediction.items():
        console.print(Text(f"{name}: {_dtype(array)} {list(array.shape)}"))
        if target is None:
            console.print(Text(np.array2string(array, threshold=200, edgeitems=3, max_line_width=100)), soft_wrap=True)
    if target is not None:
        console.print(Text(f"\nwritten to {target}"), soft_wrap=True)
