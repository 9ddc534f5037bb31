"""What an export will write and be held against: the same for a live Keras model and for a SavedModel taken as is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from attnexport.core.errors import ModelError
from attnexport.core.runner import Runner
from attnexport.core.samples import synthetic_samples
from attnexport.core.signature import Arrays, Signature, TensorSpec

from .content import keras_hash, saved_model_hash
from .endpoint import Endpoint, check_endpoint_names, trace
from .endpoints import choose, model_endpoints
from .model_inputs import model_inputs
from .models import LoadedModel
from .models.keras_file import load_keras_file
from .models.traits import computes_in, flat_layers, integers_below
from .runners import KerasRunner, SavedModelRunner
from .saved_model import copy_saved_model, write_saved_model
from .tensorflow_errors import reason
from .warmup import RECORDS_PATH

Feed = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class ExportPlan:
    """What is to be written.

    Attributes:
        write: Writes the SavedModel to a directory.
        write_original: Writes the `.keras` that parity is measured against, and gives notes on it; None where there is
            none.
        reference: Runs the original.
        reference_name: What it is called in verdicts.
        signatures: The signatures that the SavedModel must have.
        inputs: What samples are for: the inputs of `serving_default`.
        feeds: By signature, how samples become its inputs; a signature without one takes inputs of its own.
        precision: The row of parity's table of budgets.
        content_hash: Of what the SavedModel computes, see `content`.
        names: Exported input name to Keras name, where they differ.
        integers_below: Made up integers must be less than this; None where no vocabulary bounds them.
        keeps_warmup: Whether the SavedModel comes with warm-up records of its own.
        notes: What the model's owner should know, a sentence each.
    """

    write: Callable[[Path], None]
    write_original: Callable[[Path], list[str]] | None
    reference: Runner
    reference_name: str
    signatures: Mapping[str, Signature]
    inputs: tuple[TensorSpec, ...]
    feeds: Mapping[str, Feed]
    precision: str
    content_hash: str
    names: Mapping[str, str] = field(default_factory=dict)
    integers_below: int | None = None
    keeps_warmup: bool = False
    notes: tuple[str, ...] = ()


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
    vocabulary = integers_below(model)
    _check_weights(model)
    _check_stateless(model)
    samples = synthetic_samples(inputs.specs, _batch(inputs.specs), integers_below=vocabulary).inputs
    offered = model_endpoints(inputs, output_names or loaded.output_names, labels, samples)
    chosen = choose(offered, signatures)
    for each in endpoints:
        check_endpoint_names([each.name, *(other.endpoint.name for other in chosen)])
        chosen.append(trace(each))
    runner = KerasRunner(chosen)

    return ExportPlan(
        write=lambda path: write_saved_model(path, model, chosen),
        write_original=lambda path: _write_original(path, loaded),
        reference=runner,
        reference_name="Keras",
        signatures=runner.signatures,
        inputs=inputs.specs,
        feeds={each.endpoint.name: each.endpoint.feed for each in chosen if each.endpoint.feed},
        precision=_precision(model),
        content_hash=keras_hash(model, labels, runner.signatures),
        names={new: old for new, old in inputs.keras_names.items() if new != old},
        integers_below=vocabulary,
        notes=_untold_dtypes(model),
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
            f"{source} has no signature 'serving_default' of dense tensors, which TF Serving asks for; "
            f"it has {', '.join(runner.signatures) or 'none'}"
        )
    return ExportPlan(
        write=lambda path: copy_saved_model(source, path),
        write_original=None,
        reference=runner,
        reference_name="the SavedModel in a session",
        signatures=runner.signatures,
        inputs=default.inputs,
        feeds={
            name: dict for name, signature in runner.signatures.items() if set(signature.inputs) == set(default.inputs)
        },
        precision="float32",
        content_hash=saved_model_hash(source, runner.signatures),
        keeps_warmup=(source / RECORDS_PATH).exists(),
    )


def _write_original(path: Path, loaded: LoadedModel) -> list[str]:
    if loaded.keras_file:
        shutil.copyfile(loaded.keras_file, path)
        return []
    try:
        loaded.model.save(path)
    except OSError:
        raise
    except Exception as error:  # a user's get_config may raise anything
        raise ModelError(f"the model cannot be saved as .keras: {reason(error)}") from error
    try:
        load_keras_file(path)
    except ModelError as error:
        said = str(error).replace(f"{path} ", "it ")
        return [f"the .keras kept beside the SavedModel cannot be loaded again as it stands: {said}"]
    return []


def _check_weights(model: Any) -> None:
    for variable in model.weights:
        value = variable.numpy()
        if value.dtype.kind in "fV" and not np.isfinite(value.astype(np.float32, copy=False)).all():
            raise ModelError(f"weight {variable.path!r} holds NaN or infinity; the training went wrong before")


def _check_stateless(model: Any) -> None:
    for layer in flat_layers(model):
        if getattr(layer, "stateful", False) is True:
            raise ModelError(
                f"layer {layer.name!r} is stateful: a server would carry its state from one client's request to the "
                "next one's; build it with stateful=False"
            )


def _untold_dtypes(model: Any) -> tuple[str, ...]:
    # A model without inputs of its own was built by a call, of which Keras keeps the shapes alone.
    tokens = any(isinstance(layer, keras.layers.Embedding) for layer in flat_layers(model))
    if getattr(model, "inputs", None) or not tokens:
        return ()
    return (
        f"model {model.name!r} has an Embedding, and its input is exported as {model.variable_dtype}: Keras does not "
        "say of which dtype it was called; wrap it in a functional model with keras.Input to have integers",
    )


def _precision(model: Any) -> str:
    """The lowest precision that a layer computes in."""
    computed = computes_in(model)
    return next((each for each in ("bfloat16", "float16") if each in computed), "float32")


def _batch(specs: tuple[TensorSpec, ...]) -> int:
    """How many samples to try a model on at once."""
    shape = specs[0].shape
    return (shape and shape[0]) or 16
