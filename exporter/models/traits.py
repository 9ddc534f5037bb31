"""What can be learned about a model from its layers."""

from __future__ import annotations

import re
from typing import Any

import keras


def flat_layers(model: Any) -> list[Any]:
    """The model and every layer in it, nested ones included."""
    return list(model._flatten_layers())


def computes_in(model: Any) -> set[str]:
    """The floats that its layers compute in, and the operations of its functional graphs (a cast, for one) give."""
    layers = flat_layers(model)
    operations = (each for layer in layers for each in getattr(layer, "operations", ()))
    computed = {layer.compute_dtype for layer in layers} | {
        keras.backend.standardize_dtype(tensor.dtype)
        for operation in operations
        if not isinstance(operation, keras.Layer)
        for node in operation._inbound_nodes
        for tensor in node.output_tensors
    }
    return {dtype for dtype in computed if dtype is not None and "float" in dtype}


def lowest_precision(model: Any) -> str:
    """The lowest precision that a layer computes in."""
    computed = computes_in(model)
    return next((each for each in ("bfloat16", "float16") if each in computed), "float32")


def integers_below(model: Any) -> int | None:
    """The size of the smallest vocabulary, or None if no layer has one."""
    vocabularies = [layer.input_dim for layer in flat_layers(model) if isinstance(layer, keras.layers.Embedding)]
    return min(vocabularies, default=None)


def runs_otherwise_in_graphs(model: Any) -> str | None:
    """The name of the first layer that Keras computes otherwise eagerly than in a graph; None if it has none.

    Its image layers round what they make of integers when they run eagerly. In a graph, as `predict` and every export
    run them, they get floats and do not.
    """
    if not any(keras.backend.is_int_dtype(each.dtype) for each in getattr(model, "inputs", None) or []):
        return None
    layers = (layer for layer in flat_layers(model) if not isinstance(layer, keras.Model))
    bases = {layer.name: [base.__name__ for base in type(layer).__mro__] for layer in layers}
    return next((name for name, names in bases.items() if "BaseImagePreprocessingLayer" in names), None)


def has_generated_name(operation: Any) -> bool:
    """Whether Keras made the name of a layer or a model from its class."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(operation).__name__)
    name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return re.fullmatch(rf"{name}(_\d+)?", operation.name) is not None
