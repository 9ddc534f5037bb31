"""An endpoint: a function that becomes a signature of a SavedModel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from attnexport.core.errors import ArgumentError, AttnexportError, ModelError
from attnexport.core.signature import Arrays, Method, Signature, TensorSpec, check_name, duplicates

from .tensorflow_errors import reason

Tensors = dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """A function to be exported as a signature.

    Attributes:
        name: Name of the signature.
        function: Tensors by input name to tensors by output name. It may use the model's variables.
        inputs: What it takes.
        method: Method by which TF Serving serves it.
        feed: Makes its inputs from those of `serving_default`, for warm-up and parity; None if it takes other
            inputs, which are then synthetic.

    Raises:
        ArgumentError: for a name that cannot be a signature's.
    """

    name: str
    function: Callable[[Tensors], Tensors]
    inputs: tuple[TensorSpec, ...]
    method: Method = "predict"
    feed: Callable[[Arrays], Arrays] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_name(self.name, "signature name")
        for spec in self.inputs:
            check_name(spec.name, "input name")
        if self.name == "serve":
            raise ArgumentError(
                "a signature must not be called 'serve': the TFLite converter then silently ignores the others"
            )


@dataclass(frozen=True)
class TracedEndpoint:
    """An endpoint with its graph: the tf.function to save, and its signature as traced.

    Saving traces a tf.function again, so `function` only calls the graph already traced.
    """

    endpoint: Endpoint
    function: Any
    signature: Signature


def check_endpoint_names(names: Sequence[str]) -> None:
    """Refuse names that occur twice.

    Raises:
        ArgumentError: naming the first that does.
    """
    if repeated := duplicates(names):
        raise ArgumentError(f"signature {repeated[0]!r} is named twice")


def trace(endpoint: Endpoint) -> TracedEndpoint:
    """Trace an endpoint once, for its graph and the specs of its outputs.

    Raises:
        ModelError: if its function cannot be traced, or does not return a dict of tensors.
    """
    specs = {
        spec.name: tf.TensorSpec(spec.shape, tf.dtypes.as_dtype(spec.dtype), name=spec.name) for spec in endpoint.inputs
    }
    try:
        graph = tf.function(endpoint.function, input_signature=[specs], autograph=False).get_concrete_function()
    except AttnexportError:
        raise
    except Exception as error:  # a user's layers may raise anything
        raise ModelError(
            f"signature {endpoint.name!r} cannot be traced: {type(error).__name__}: {reason(error)}"
        ) from error
    outputs = graph.structured_outputs
    if not isinstance(outputs, dict) or not outputs:
        raise ModelError(
            f"signature {endpoint.name!r} must return a dict of tensors; it returned {type(outputs).__name__}"
        )
    output_specs = tuple(_output_spec(endpoint.name, name, output) for name, output in outputs.items())

    def call_graph(tensors: Tensors) -> Tensors:
        results: Tensors = graph(tensors)
        return results

    function = tf.function(call_graph, input_signature=[specs], autograph=False)
    function.get_concrete_function()
    return TracedEndpoint(endpoint, function, Signature(endpoint.name, endpoint.inputs, output_specs, endpoint.method))


def _output_spec(signature: str, name: str, output: Any) -> TensorSpec:
    check_name(name, "output name")
    shape = getattr(output, "shape", None)
    if not isinstance(shape, tf.TensorShape):
        raise ModelError(f"signature {signature!r}: output {name!r} is {type(output).__name__}, not a tensor")
    return TensorSpec(name, output.dtype.name, None if shape.rank is None else tuple(shape))
