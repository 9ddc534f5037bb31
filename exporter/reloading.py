"""Whether the `.keras` file that Keras writes of a live model is that model when it is loaded again.

A file holds what `get_config` and the layers' variables tell. A bare `tf.Variable`, an argument that `get_config`
forgets and an attribute set after construction are in the live model alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import keras

from attnexport.core.errors import AttnexportError, ModelError
from attnexport.core.runner import Runner
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, TensorSpec
from attnexport.parity import Case, compare, distance

from .endpoint import Endpoint, Tensors, TracedEndpoint, trace
from .model_inputs import ModelInputs, model_inputs
from .models.keras_file import load_keras_file, without_advice
from .models.traits import runs_otherwise_in_graphs
from .runners import KerasRunner
from .tracer import KerasTracer

SAME_DB = 60.0  # what computes the same differs by rounding alone
_TRACED = 4  # samples


def why_not_original(
    live: ModelInputs,
    reference: Runner,
    path: Path,
    cases: Sequence[Case],
    precision: str,
    declared: Sequence[TensorSpec] = (),
) -> str | None:
    """Why a `.keras` file is not the live model that it was written from; None if it is.

    Args:
        live: The model.
        reference: Runs it.
        path: The file.
        cases: Inputs to compare on, those of `serving_default`.
        precision: The row of parity's table of budgets that the loaded model is held to.
        declared: The inputs of a model that does not know them itself.
    """
    try:
        names = [spec.name for spec in live.specs]
        loaded = model_inputs(load_keras_file(path, declared), names, declared=declared)
    except AttnexportError as error:
        problem = str(error).replace(f"{path} ", "it ").removeprefix("it cannot be loaded: ")
        return f"cannot be loaded again: {without_advice(problem)}"
    loaded = replace(loaded, specs=live.specs)
    signature = reference.signatures[DEFAULT_SIGNATURE]

    def call(tensors: Tensors) -> Tensors:
        outputs = keras.tree.flatten(loaded.call(tensors))
        return dict(zip((spec.name for spec in signature.outputs), outputs, strict=True))

    endpoint = Endpoint(DEFAULT_SIGNATURE, call, live.specs)
    in_graph = runs_otherwise_in_graphs(live.model) is not None
    try:
        traced = trace(endpoint) if in_graph else TracedEndpoint(endpoint, None, signature)
        runner = KerasRunner([traced], in_graph=in_graph)
        verdict = compare(reference, runner, cases, precision=precision, require_finite=True)
    except AttnexportError as error:
        return f"does not run when it is loaded again: {error}"
    if verdict:
        return None
    layer = _first_different(live, loaded, cases[0].inputs)
    where = f", first in layer {layer!r}" if layer else ""
    return f"computes something else when it is loaded again{where}: {verdict.failures[0].problem}"


def _first_different(live: ModelInputs, loaded: ModelInputs, inputs: Arrays) -> str:
    """The path of the first layer whose outputs differ; empty if the layers do not show it."""
    few = {name: array[:_TRACED] if array.ndim else array for name, array in inputs.items()}
    with suppress(ModelError):
        expected, actual = KerasTracer(live).trace(few), KerasTracer(loaded).trace(few)
        # By their order: Keras numbers layers without a name anew when it loads them.
        for (name, values), other in zip(expected.items(), actual.values(), strict=False):
            if other.shape != values.shape or distance(values, other).sqnr_db < SAME_DB:
                return name.rpartition(":")[0]
    return ""
