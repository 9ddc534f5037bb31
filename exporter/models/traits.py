"""What can be learned about a model from its layers."""

from __future__ import annotations

import re
from typing import Any

import keras


def flat_layers(model: Any) -> list[Any]:
    """The model and every layer in it, nested ones included."""
    return list(model._flatten_layers())


def computes_in(model: Any) -> set[str]:
    """The dtypes that its layers compute in."""
    return {layer.compute_dtype for layer in flat_layers(model)}


def integers_below(model: Any) -> int | None:
    """The size of the smallest vocabulary, or None if no layer has one."""
    vocabularies = [layer.input_dim for layer in flat_layers(model) if isinstance(layer, keras.layers.Embedding)]
    return min(vocabularies, default=None)


def has_generated_name(operation: Any) -> bool:
    """Whether Keras made the name of a layer or a model from its class."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(operation).__name__)
    name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return re.fullmatch(rf"{name}(_\d+)?", operation.name) is not None
