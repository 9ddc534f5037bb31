"""What can be learned about a model from its layers."""

from __future__ import annotations

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
