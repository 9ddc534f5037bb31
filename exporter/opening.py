"""Opening a model: whatever it is given as, it becomes one ModelSource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, ModelError
from attnexport.core.signature import DEFAULT_SIGNATURE, Shape, Signature, TensorSpec

from .endpoint import Endpoint
from .model_source import ModelSource
from .models.sources import open_source

if TYPE_CHECKING:
    from .keras_source import KerasSource


def open_model(
    model: Any,
    *,
    imports: Iterable[str] = (),
    input_names: Sequence[str] = (),
    output_names: Sequence[str] = (),
    steps: int | None = None,
    batch: int | None = None,
    shapes: Mapping[str, Shape] | None = None,
    inputs: Sequence[TensorSpec] = (),
    signatures: Sequence[str] = (),
    endpoints: Sequence[Endpoint] = (),
    labels: Sequence[str] | None = None,
    classify: bool = True,
) -> ModelSource:
    """Load a model and trace its signatures.

    Args:
        model: A `keras.Model`, a PresetConfig, the path of a `.keras` file, an export or a SavedModel, a factory's
            `package.module:function`, or what `open_source` or `open_version` gave.
        imports: Modules that register custom layers.
        input_names: Names for the inputs, in order (dicts by their sorted keys); Keras's if empty.
        output_names: Names for the outputs, in order (dicts by their sorted keys); the model's own if empty.
        steps: Fix free steps to this.
        batch: Fix the batch to this; free if None.
        shapes: Shapes for inputs, by name; None leaves a dimension as it is.
        inputs: The inputs of a model that does not know them itself: a subclassed one of several arguments or tokens.
        signatures: Which of the offered signatures to open beside `serving_default`; all if empty.
        endpoints: Signatures of your own.
        labels: Names of the classes, for the signature `classify`.
        classify: Whether to offer the signature `classify`, if the model can.

    Raises:
        ArgumentError: for names or sizes that do not fit the model, or any choice for a SavedModel.
        ModelError: if the model cannot be loaded or traced, or was never built.

    Example:
        >>> from attnexport.exporter import build_model, open_model
        >>> source = open_model(build_model(steps=4, features=8, units=16, classes=3))
        >>> print(source.signatures["serving_default"])
        serving_default(sequence: float32 [?, 4, 8]) -> (logits: float32 [?, 4, 3])
    """
    origin = open_source(model, imports, inputs)
    if origin.saved_model is None:
        from .keras_source import KerasSource

        return KerasSource.open(
            origin,
            input_names=input_names,
            output_names=output_names,
            steps=steps,
            batch=batch,
            shapes=shapes,
            signatures=signatures,
            endpoints=endpoints,
            labels=labels,
            classify=classify,
        )
    chosen = {
        "input names": input_names,
        "output names": output_names,
        "steps": steps,
        "batch": batch,
        "shapes": shapes or None,
        "inputs": inputs,
        "signatures": signatures,
        "endpoints": endpoints,
        "labels": labels,
    }
    if given := [name for name, value in chosen.items() if value is not None and value not in ((), [])]:
        raise ArgumentError(
            f"{', '.join(given)} cannot be chosen for a SavedModel, whose signatures are written already; export the "
            "Keras model instead"
        )
    from .saved_model_source import SavedModelSource

    return SavedModelSource.open(origin, origin.saved_model)


def open_as_written(
    source: KerasSource, written: Sequence[Signature], labels: Sequence[str] | None
) -> KerasSource | None:
    """Open a model as that of a version was: with its sizes, and of its signatures those that a model offers by itself.

    Args:
        source: The model, opened as it is.
        written: The signatures of the version's SavedModel.
        labels: The labels that the version was given.

    Returns:
        The source; None if the model does not take such sizes, by its inputs or in a layer, or lacks a signature.
    """
    from .endpoints import OFFERED
    from .keras_source import KerasSource

    known = {each.name: each for each in written}
    if known == dict(source.signatures) and tuple(labels or ()) == (source.labels or ()):
        return source
    default = known.get(DEFAULT_SIGNATURE)
    if default is None:
        return None
    try:
        return KerasSource.open(
            source.origin,
            input_names=[spec.name for spec in source.inputs],
            output_names=source.output_names,
            shapes={spec.name: spec.shape for spec in default.inputs if spec.shape is not None},
            signatures=[name for name in known if name in OFFERED],
            labels=labels,
            classify="classify" in known or labels is not None,
        )
    except (ArgumentError, ModelError):
        return None
