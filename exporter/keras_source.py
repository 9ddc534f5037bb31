"""A Keras model, open for export, conversion and comparison."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from attnexport.core.errors import ModelError
from attnexport.core.samples import synthetic_samples
from attnexport.core.signature import Signature, TensorSpec

from .content import keras_hash
from .endpoint import Endpoint, TracedEndpoint, check_endpoint_names, trace
from .endpoints import OFFERED, model_endpoints
from .model_inputs import ModelInputs, fix_size, model_inputs
from .model_source import ModelSource
from .models.float32 import OTHER_FLOATS, in_float32
from .models.keras_file import load_keras_file
from .models.sources import ModelOrigin
from .models.traits import computes_in, flat_layers, integers_below
from .runners import KerasRunner
from .saved_model import write_saved_model
from .tensorflow_errors import reason
from .tracer import KerasTracer

_TRIED = 16  # samples on which `classify` tries a model of free batch


@dataclass(frozen=True)
class KerasSource(ModelSource):
    """A Keras model and its traced endpoints.

    Attributes:
        model_inputs: The model, and the names and shapes of its inputs.
        endpoints: The endpoints that are open.
        output_names: Names for the outputs, in order; the model's own if empty.
        labels: Names of the classes, for `classify`.
    """

    model_inputs: ModelInputs = field(kw_only=True)
    endpoints: tuple[TracedEndpoint, ...] = field(kw_only=True)
    output_names: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None

    @classmethod
    def open(
        cls,
        origin: ModelOrigin,
        *,
        input_names: Sequence[str] = (),
        output_names: Sequence[str] = (),
        steps: int | None = None,
        batch: int | None = None,
        signatures: Sequence[str] = (),
        endpoints: Sequence[Endpoint] = (),
        labels: Sequence[str] | None = None,
        classify: bool = True,
    ) -> KerasSource:
        """Load and trace the model; see `open_model`."""
        check_endpoint_names([*signatures, *(each.name for each in endpoints)])
        inputs = model_inputs(origin.model, input_names or origin.input_names, steps=steps, batch=batch)
        names = tuple(output_names or origin.output_names)
        samples = None
        if classify:
            count = _batch(inputs.specs)
            samples = synthetic_samples(inputs.specs, count, integers_below=integers_below(inputs.model)).inputs
        opened = model_endpoints(inputs, names, labels, samples, signatures)
        for each in endpoints:
            check_endpoint_names([each.name, *(other.endpoint.name for other in opened)])
            opened.append(trace(each))
        return cls.of(origin, inputs, opened, output_names=names, labels=None if labels is None else tuple(labels))

    @classmethod
    def of(
        cls, origin: ModelOrigin, inputs: ModelInputs, endpoints: Sequence[TracedEndpoint], **others: Any
    ) -> KerasSource:
        """The source of a model with endpoints that were traced of it."""
        return cls(
            origin,
            KerasRunner(endpoints),
            "Keras",
            {each.endpoint.name: each.endpoint.feed for each in endpoints if each.endpoint.feed},
            names={new: old for new, old in inputs.keras_names.items() if new != old},
            integers_below=integers_below(inputs.model),
            precision=_precision(inputs.model),
            notes=_notes(inputs.model),
            tracer=KerasTracer(inputs),
            model_inputs=inputs,
            endpoints=tuple(endpoints),
            **others,
        )

    @property
    def model(self) -> Any:
        """The `keras.Model`."""
        return self.model_inputs.model

    @cached_property
    def content_hash(self) -> str:
        return keras_hash(self.model, self.labels, self.signatures)

    def write(self, path: Path) -> None:
        write_saved_model(path, self.model, self.endpoints)

    def write_original(self, path: Path) -> list[str]:
        if self.origin.keras_file:
            shutil.copyfile(self.origin.keras_file, path)
            return []
        try:
            self.model.save(path)
        except OSError:
            raise
        except Exception as error:  # a user's get_config may raise anything
            raise ModelError(f"the model cannot be saved as .keras: {reason(error)}") from error
        try:
            load_keras_file(path)
        except ModelError as error:
            message = str(error).replace(f"{path} ", "it ")
            return [f"the .keras kept beside the SavedModel cannot be loaded again as it stands: {message}"]
        return []

    def write_fixed(self, path: Path, names: Sequence[str], batch: int | None) -> dict[str, Signature]:
        chosen = [_with_batch(each, batch) for each in self.endpoints if each.endpoint.name in names]
        write_saved_model(path, self.model, chosen)
        return {each.endpoint.name: each.signature for each in chosen}

    def in_float32(self, *, steps: int | None = None, signatures: Sequence[str] = ()) -> KerasSource:
        is_narrow = bool(computes_in(self.model) & OTHER_FLOATS)
        if not is_narrow and (steps is None or self._has_steps(steps)):
            return self
        rebuilt = in_float32(self.model) if is_narrow else self.model
        source = KerasSource.open(
            replace(self.origin, load=lambda: rebuilt),
            input_names=[spec.name for spec in self.inputs],
            output_names=self.output_names,
            steps=steps,
            signatures=[name for name in signatures or self.signatures if name in OFFERED],
            labels=self.labels,
            classify="classify" in (signatures or self.signatures),
        )
        return replace(source, origin=self.origin, narrow=self.reference if is_narrow else None)

    def _has_steps(self, steps: int) -> bool:
        return fix_size(self.inputs, 1, "steps", steps) == self.inputs


def check_exportable(model: Any) -> None:
    """Refuse a model that cannot be served.

    Raises:
        ModelError: if a weight is not finite, or a layer keeps a state.

    Example:
        >>> from attnexport.exporter import build_model
        >>> check_exportable(build_model())
    """
    for variable in model.weights:
        value = variable.numpy()
        if value.dtype.kind in "fV" and not np.isfinite(value.astype(np.float32, copy=False)).all():
            raise ModelError(f"weight {variable.path!r} holds NaN or infinity; the training went wrong before")
    for layer in flat_layers(model):
        if getattr(layer, "stateful", False) is True:
            raise ModelError(
                f"layer {layer.name!r} is stateful: a server would carry its state from one client's request to the "
                "next one's; build it with stateful=False"
            )


def _with_batch(traced: TracedEndpoint, batch: int | None) -> TracedEndpoint:
    if batch is None:
        return traced
    inputs = fix_size(traced.endpoint.inputs, 0, "batch", batch)
    return traced if inputs == traced.endpoint.inputs else trace(replace(traced.endpoint, inputs=inputs))


def _notes(model: Any) -> tuple[str, ...]:
    # A model without inputs of its own was built by a call, of which Keras keeps the shapes alone.
    has_tokens = any(isinstance(layer, keras.layers.Embedding) for layer in flat_layers(model))
    if getattr(model, "inputs", None) or not has_tokens:
        return ()
    return (
        f"model {model.name!r} has an Embedding, and its input is exported as {model.variable_dtype}: Keras does not "
        "keep the dtype of its first call; wrap it in a functional model with keras.Input to have integers",
    )


def _precision(model: Any) -> str:
    """The lowest precision that a layer computes in."""
    computed = computes_in(model)
    return next((each for each in ("bfloat16", "float16") if each in computed), "float32")


def _batch(specs: tuple[TensorSpec, ...]) -> int:
    """How many samples to try a model on at once."""
    shape = specs[0].shape
    return (shape and shape[0]) or _TRIED
