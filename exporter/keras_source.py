"""A Keras model, open for export, conversion and comparison."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from attnexport.core.batches import batch_for
from attnexport.core.errors import ModelError
from attnexport.core.samples import synthetic_samples
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Shape, Signature, TensorSpec
from attnexport.parity import Case

from .content import hashed_weights, keras_hash
from .endpoint import Endpoint, TracedEndpoint, check_endpoint_names, trace
from .endpoints import OFFERED, model_endpoints
from .lengths import at_length, length_of
from .model_inputs import ModelInputs, fix_shapes_of, fix_size, model_inputs
from .model_source import ModelSource
from .models.float32 import (
    OTHER_FLOATS,
    in_float32,
    needs_float32,
    precision_of_quantization,
    quantized_by_keras,
)
from .models.sources import ModelOrigin
from .models.traits import computes_in, flat_layers, integers_below, lowest_precision, runs_otherwise_in_graphs
from .ragged import check_ragged, ragged_notes
from .reloading import why_not_original
from .runners import KerasRunner
from .saved_model import write_saved_model
from .tables import vocabularies
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
        shapes: Mapping[str, Shape] | None = None,
        signatures: Sequence[str] = (),
        endpoints: Sequence[Endpoint] = (),
        labels: Sequence[str] | None = None,
        classify: bool = True,
    ) -> KerasSource:
        """Load and trace the model; see `open_model`."""
        check_endpoint_names([*signatures, *(each.name for each in endpoints)])
        inputs = model_inputs(
            origin.model,
            input_names or origin.input_names,
            steps=steps,
            batch=batch,
            shapes=shapes,
            declared=origin.declared,
        )
        names = tuple(output_names or origin.output_names)
        samples = None
        if classify:
            samples = _tried(inputs)
        check_ragged(inputs, lambda: samples or _tried(inputs))
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
            KerasRunner(endpoints, in_graph=runs_otherwise_in_graphs(inputs.model) is not None),
            "Keras",
            {each.endpoint.name: each.endpoint.feed for each in endpoints if each.endpoint.feed},
            names={new: old for new, old in inputs.keras_names.items() if new != old},
            integers_below=integers_below(inputs.model),
            words=vocabularies(inputs),
            precision=lowest_precision(inputs.model),
            notes=_notes(inputs),
            quantized_by=quantized_by_keras(inputs.model),
            tracer=KerasTracer(inputs),
            model_inputs=inputs,
            endpoints=tuple(endpoints),
            **others,
        )

    @property
    def model(self) -> Any:
        """The `keras.Model`."""
        return self.model_inputs.model

    @property
    def runs_by_layer(self) -> bool:
        return isinstance(self.reference, KerasRunner) and not self.reference.in_graph

    @cached_property
    def content_hash(self) -> str:
        return self.hash_as(self.labels, self.signatures)

    def hash_as(self, labels: Sequence[str] | None, signatures: Mapping[str, Signature]) -> str:
        """The content hash of an export of the model with these labels and signatures, which need not be open."""
        return keras_hash(self.model, self._weights, labels, signatures)

    @cached_property
    def _weights(self) -> Arrays:
        return hashed_weights(self.model)  # once for all versions that the model is compared with

    def write(self, path: Path) -> None:
        write_saved_model(path, self.endpoints)

    def write_original(self, path: Path, cases: Sequence[Case]) -> str | None:
        if self.origin.keras_file:
            shutil.copyfile(self.origin.keras_file, path)
            return None
        try:
            self.model.save(path)
        except OSError:
            raise
        except Exception as error:  # a user's get_config may raise anything
            return f"cannot be written: {reason(error)}"
        own = [case for case in cases if case.signature == DEFAULT_SIGNATURE]
        return why_not_original(self.model_inputs, self.reference, path, own, self.precision, self.origin.declared)

    def write_fixed(self, path: Path, names: Sequence[str], batch: int | None) -> dict[str, Signature]:
        chosen = [_with_batch(each, batch) for each in self.endpoints if each.endpoint.name in names]
        write_saved_model(path, chosen)
        return {each.endpoint.name: each.signature for each in chosen}

    def in_float32(
        self,
        *,
        steps: Sequence[int] = (),
        shapes: Mapping[str, Shape] | None = None,
        signatures: Sequence[str] = (),
    ) -> KerasSource:
        is_narrow, longest = needs_float32(self.model), max(steps, default=None)
        fixed = self._fix(longest, shapes)
        if not is_narrow and fixed == self.inputs:
            return self._with_lengths(steps, signatures, _of_length(fixed, longest))
        free = [one.name for one, other in zip(self.inputs, fixed, strict=True) if one != other]
        rebuilt = in_float32(self.model, self.origin.declared) if is_narrow else self.model
        source = KerasSource.open(
            replace(self.origin, load=lambda: rebuilt),
            input_names=[spec.name for spec in self.inputs],
            output_names=self.output_names,
            steps=longest,
            shapes=shapes,
            signatures=[name for name in signatures or self.signatures if name in OFFERED],
            labels=self.labels,
            classify="classify" in (signatures or self.signatures),
        )._with_lengths(steps, signatures, free or _of_length(fixed, longest))
        if not is_narrow:
            return replace(source, origin=self.origin)
        mode = quantized_by_keras(self.model)
        return replace(
            source,
            origin=self.origin,
            narrow=self.reference,
            narrow_precision=precision_of_quantization(mode) or self.precision,
            quantized_by=mode,
            has_adapters=mode is None and not computes_in(self.model) & OTHER_FLOATS,
        )

    def _fix(self, steps: int | None, shapes: Mapping[str, Shape] | None) -> tuple[TensorSpec, ...]:
        fixed = self.inputs if steps is None else fix_size(self.inputs, 1, "steps", steps)
        return fix_shapes_of(fixed, shapes or {}, {old: new for new, old in self.names.items()})

    def with_lengths_of(self, names: Iterable[str]) -> KerasSource:
        known = {each.endpoint.name: each.endpoint for each in self.endpoints}
        free = [spec.name for spec in self.inputs if spec.shape and spec.shape[1:2] == (None,)]
        lengths = [(known[found[0]], found[1]) for name in names if (found := length_of(name)) and found[0] in known]
        return self._with([at_length(each, steps, free) for each, steps in lengths] if free else [])

    def _with_lengths(self, steps: Sequence[int], signatures: Sequence[str], free: Sequence[str]) -> KerasSource:
        """The source with each signature at each shorter length, too; its own is the longest."""
        if len(steps) < 2:
            return self
        chosen = [each for each in self.endpoints if each.endpoint.name in (signatures or self.signatures)]
        shorter = sorted(set(steps) - {max(steps)})
        return self._with([at_length(each.endpoint, length, free) for each in chosen for length in shorter])

    def _with(self, others: Sequence[Endpoint]) -> KerasSource:
        """The source with further endpoints."""
        endpoints = [*self.endpoints, *map(trace, others)]
        feeds = {each.endpoint.name: each.endpoint.feed for each in endpoints if each.endpoint.feed}
        runner = KerasRunner(endpoints, in_graph=runs_otherwise_in_graphs(self.model) is not None)
        return replace(self, reference=runner, feeds=feeds, endpoints=tuple(endpoints))


def check_exportable(model: Any) -> None:
    """Refuse a model that cannot be served.

    A buffer that is not trained may hold infinity (a mask's): what the model answers is checked when it is compared.

    Raises:
        ModelError: if a trainable weight is not finite, a buffer holds NaN, or a layer keeps a state.

    Example:
        >>> from attnexport.exporter import build_model
        >>> check_exportable(build_model())
    """
    trained = {id(variable) for variable in model.trainable_weights}
    for variable in model.weights:
        value = variable.numpy()
        if value.dtype.kind not in "fV":
            continue
        value = value.astype(np.float32, copy=False)
        wrong = ~np.isfinite(value) if id(variable) in trained else np.isnan(value)
        if wrong.any():
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


def _notes(inputs: ModelInputs) -> tuple[str, ...]:
    model, notes = inputs.model, []
    known = getattr(model, "inputs", None) or ()
    if sparse := [each.name for each in known if each.sparse]:
        notes.append(
            f"Keras takes {', '.join(map(repr, sparse))} sparse; the exported signatures take a dense tensor for it"
        )
    notes += ragged_notes(inputs)
    if (layer := runs_otherwise_in_graphs(model)) is not None:
        notes.append(
            f"layer {layer!r} gets integers, which Keras's image layers round eagerly and not in a graph: the original "
            "is compared as predict runs it, in a graph"
        )
    # A model without inputs of its own was built by a call, of which Keras keeps the shapes alone.
    has_tokens = any(isinstance(layer, keras.layers.Embedding) for layer in flat_layers(model))
    if not known and has_tokens and all("int" not in spec.dtype for spec in inputs.specs):
        notes.append(
            f"model {model.name!r} has an Embedding, and its input is exported as {model.variable_dtype}: Keras does "
            "not keep the dtype of its first call; wrap it in a functional model with keras.Input to have integers"
        )
    return tuple(notes)


def _of_length(specs: Sequence[TensorSpec], steps: int | None) -> list[str]:
    """The inputs of this length."""
    return [spec.name for spec in specs if (spec.shape or ())[1:2] == (steps,)]


def _tried(inputs: ModelInputs) -> Arrays:
    """Samples to try a model on at once."""
    shape = inputs.specs[0].shape
    fixed = shape[0] if shape else None
    samples = synthetic_samples(
        inputs.specs, fixed or _TRIED, integers_below=integers_below(inputs.model), words=vocabularies(inputs)
    )
    has_scalars = not all(each.ndim for each in samples.inputs.values())
    return samples.inputs if fixed or has_scalars else samples.take(batch_for(samples.inputs)).inputs
