"""What an export will write and be held against: the same for a live Keras model and for a SavedModel taken as is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attnexport.core.errors import ModelError
from attnexport.core.runner import Runner
from attnexport.core.samples import content_hash
from attnexport.core.signature import Arrays, Signature, TensorSpec

from .endpoint import Endpoint, check_endpoint_names, trace
from .endpoints import choose, model_endpoints
from .model_inputs import model_inputs
from .models import LoadedModel
from .runners import KerasRunner, SavedModelRunner
from .saved_model import copy_saved_model, flat_layers, write_saved_model
from .warmup import RECORDS_PATH

Feed = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class ExportPlan:
    """What is to be written.

    Attributes:
        write: Writes the SavedModel to a directory.
        write_original: Writes the `.keras` that parity is measured against, None where there is none.
        reference: Runs the original.
        reference_name: What it is called in verdicts.
        signatures: The signatures that the SavedModel must have.
        inputs: What samples are for: the inputs of `serving_default`.
        feeds: By signature, how samples become its inputs; a signature without one takes inputs of its own.
        precision: The row of parity's table of budgets.
        content_hash: Of variables and signatures.
        names: Exported input name to Keras name, where they differ.
        integers_below: Integer inputs must be less than this.
        keeps_warmup: Whether the SavedModel comes with warm-up records of its own.
    """

    write: Callable[[Path], None]
    write_original: Callable[[Path], None] | None
    reference: Runner
    reference_name: str
    signatures: Mapping[str, Signature]
    inputs: tuple[TensorSpec, ...]
    feeds: Mapping[str, Feed]
    precision: str
    content_hash: str
    names: Mapping[str, str] = field(default_factory=dict)
    integers_below: int = 2
    keeps_warmup: bool = False


def plan_keras(
    loaded: LoadedModel,
    *,
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    steps: int | None = None,
    batch: int | None = None,
    signatures: Sequence[str] = (),
    endpoints: Sequence[Endpoint] = (),
    labels: Sequence[str] | None = None,
) -> ExportPlan:
    """Plan the export of a Keras model; see `export_saved_model`.

    Raises:
        ArgumentError: for names or sizes that do not fit the model.
        ModelError: where the model was never built, cannot be traced, or has NaN weights.
    """
    model = loaded.model
    check_endpoint_names([*signatures, *(each.name for each in endpoints)])
    inputs = model_inputs(model, input_names or loaded.input_names, steps=steps, batch=batch)
    weights = _finite_weights(model)
    offered = model_endpoints(inputs, output_names or loaded.output_names, labels)
    chosen = choose(offered, signatures)
    for each in endpoints:
        check_endpoint_names([each.name, *(other.endpoint.name for other in chosen)])
        chosen.append(trace(each))
    runner = KerasRunner(chosen)

    def write_original(path: Path) -> None:
        if loaded.keras_file:
            shutil.copyfile(loaded.keras_file, path)
        else:
            model.save(path)

    return ExportPlan(
        write=lambda path: write_saved_model(path, model, chosen),
        write_original=write_original,
        reference=runner,
        reference_name="Keras",
        signatures=runner.signatures,
        inputs=inputs.specs,
        feeds={each.endpoint.name: each.endpoint.feed for each in chosen if each.endpoint.feed},
        precision=_precision(model),
        content_hash=_hash(weights, runner.signatures),
        names={new: old for new, old in inputs.keras_names.items() if new != old},
        integers_below=_integers_below(model),
    )


def plan_saved_model(loaded: LoadedModel) -> ExportPlan:
    """Plan the export of a SavedModel as it is, held against itself in a session.

    Raises:
        ModelError: where it does not load, or has no `serving_default`.
    """
    source = loaded.saved_model
    if source is None:
        raise ModelError("there is no SavedModel to copy")
    runner = SavedModelRunner(source)
    default = runner.signatures.get("serving_default")
    if default is None:
        runner.close()
        raise ModelError(
            f"{source} has no signature 'serving_default', which TF Serving asks for; "
            f"it has {', '.join(runner.signatures) or 'none'}"
        )
    return ExportPlan(
        write=lambda path: copy_saved_model(source, path),
        write_original=None,
        reference=runner,
        reference_name="the SavedModel in a session",
        signatures=runner.signatures,
        inputs=default.inputs,
        # What a string means to a graph (a tf.Example, a sentence) cannot be made up.
        feeds={
            name: dict
            for name, signature in runner.signatures.items()
            if set(signature.inputs) == set(default.inputs) and all(s.dtype != "string" for s in signature.inputs)
        },
        precision="float32",
        content_hash=_hash(_checkpoint(source), runner.signatures),
        keeps_warmup=(source / RECORDS_PATH).exists(),
    )


def _finite_weights(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The model's weights by Keras path, refused where one is not finite."""
    weights: dict[str, np.ndarray[Any, Any]] = {}
    for variable in model.weights:
        value = variable.numpy()
        if value.dtype.kind in "fV" and not np.isfinite(value.astype(np.float32)).all():
            raise ModelError(f"weight {variable.path!r} holds NaN or infinity; the training went wrong before")
        key, number = variable.path, 0
        while key in weights:  # two nested models may use one name
            number += 1
            key = f"{variable.path}#{number}"
        weights[key] = value
    return weights


def _checkpoint(saved_model: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The variables of a SavedModel by their names in its checkpoint, or its graph where it has none."""
    prefix = saved_model / "variables" / "variables"
    if not prefix.with_suffix(".index").exists():
        return {"saved_model.pb": np.frombuffer((saved_model / "saved_model.pb").read_bytes(), np.uint8)}
    reader = tf.train.load_checkpoint(str(prefix))
    arrays = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    # The checkpoint's own description of its objects is bytes, and differs from process to process.
    return {name: np.asarray(array) for name, array in arrays.items() if not isinstance(array, bytes)}


def _hash(weights: Mapping[str, np.ndarray[Any, Any]], signatures: Mapping[str, Signature]) -> str:
    described = "\n".join(str(signatures[name]) for name in sorted(signatures))
    return content_hash({**weights, "signatures": np.frombuffer(described.encode(), np.uint8)})


def _precision(model: Any) -> str:
    """The lowest precision that a layer computes in."""
    computed = {layer.compute_dtype for layer in flat_layers(model)}
    return next((each for each in ("bfloat16", "float16") if each in computed), "float32")


def _integers_below(model: Any) -> int:
    """The size of the smallest vocabulary."""
    vocabularies = [layer.input_dim for layer in flat_layers(model) if isinstance(layer, keras.layers.Embedding)]
    return min(vocabularies, default=2)
