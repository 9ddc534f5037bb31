"""The lookup tables that a model's functions use, wherever they are kept, and the words in them."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .endpoint import TracedEndpoint
from .model_inputs import ModelInputs
from .models.traits import flat_layers

_MOST_WORDS = 1000  # of a vocabulary


def captured_tables(endpoints: Sequence[TracedEndpoint]) -> list[Any]:
    """The live tables that endpoints read, wherever they are: in a list or dict of a layer, a module, a closure.

    Variables are found through the endpoints by themselves. Tracking the whole model instead would store each variable
    a second time, and miss a table in a plain object.
    """
    traced = [each.function.get_concrete_function() for each in endpoints]
    variables = {id(variable.handle) for each in traced for variable in each.graph.variables}
    captured = {
        id(tensor) for each in traced for tensor in each.captured_inputs if tensor.dtype == tf.resource
    } - variables
    if not captured:
        return []  # as in most models: the search below looks at every object of the process
    tables = []
    for each in gc.get_objects():
        with suppress(Exception):  # some objects do not even tell their class
            # The attribute: the property would make the resource of a table that was never used.
            is_table = isinstance(each, tf.saved_model.experimental.TrackableResource)
            if is_table and id(getattr(each, "_resource_handle", None)) in captured:
                tables.append(each)
    return tables


def vocabularies(inputs: ModelInputs) -> dict[str, tuple[bytes, ...]]:
    """The words that a model knows, by the name of the string input that they can go into.

    Where the model's graph does not tell which layer an input goes into, every input gets all words.
    """
    strings = [spec.name for spec in inputs.specs if spec.dtype == "string"]
    if not strings:
        return {}
    layers = [(layer, words) for layer in flat_layers(inputs.model) if (words := tuple(_words(layer)))]
    everything = tuple(dict.fromkeys(word for _, words in layers for word in words))
    names = {id(leaf): spec.name for leaf, spec in zip(keras.tree.flatten(inputs.structure), inputs.specs, strict=True)}
    fed: dict[str, tuple[bytes, ...]] = {}
    for layer, words in layers:
        for source in _sources(layer):
            if (name := names.get(id(source))) is not None:
                fed[name] = (*fed.get(name, ()), *words)
    return {name: fed.get(name, everything) for name in strings if fed.get(name, everything)}


def _words(layer: Any) -> Iterator[bytes]:
    """The words of a preprocessing layer, or of a layer's own tables."""
    found: list[Any] = []
    if callable(getattr(layer, "get_vocabulary", None)):
        with suppress(Exception):  # not adapted yet, or of integers
            found += layer.get_vocabulary()
    with suppress(Exception):  # a user's attributes may be anything
        for value in keras.tree.flatten(list(vars(layer).values())):
            if isinstance(value, tf.lookup.StaticHashTable | tf.lookup.experimental.MutableHashTable):
                found += np.asarray(value.export()[0]).reshape(-1).tolist()
    for word in found[:_MOST_WORDS]:
        text = word if isinstance(word, bytes) else word.encode() if isinstance(word, str) else b""
        if text not in (b"", b"[UNK]"):
            yield text


def _sources(layer: Any) -> Iterator[Any]:
    """The tensors that a layer of a functional model is called on."""
    for node in getattr(layer, "_inbound_nodes", ()):
        yield from node.input_tensors
