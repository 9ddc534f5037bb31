"""A Tracer over a live Keras model: what its layers give, and what our attention computes inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attnexport.core.errors import ModelError
from attnexport.core.signature import Arrays
from attnexport.core.tracer import trace_batched

from .layers import AttentionConcat, observe_attention
from .model_inputs import ModelInputs
from .models.dequantized import quantization_mode
from .models.traits import flat_layers
from .tensorflow_errors import reason

# These call their inner layers once per step, so the outputs of those layers are of single steps.
_LOOPS = (keras.layers.RNN, keras.layers.TimeDistributed)
_ROLES = {AttentionConcat: "concatenation", keras.layers.Dense: "dense", keras.layers.EinsumDense: "dense"}


class KerasTracer:
    """Runs a Keras model eagerly once and keeps the float outputs of every layer outside loops.

    A tensor is called `path/of/the/layer:role`. The role is `dense` or `concatenation`; `scores`, `softmax` or
    `context` within our attention layers; the layer's class otherwise. From the second call of a layer on, a number
    follows its name.
    """

    def __init__(self, inputs: ModelInputs) -> None:
        self._inputs = inputs

    def trace(self, inputs: Arrays) -> Arrays:
        """Every tensor `[n, ...]` by name, in the order of computation.

        Raises:
            ModelError: if the model fails.
        """
        fixed = {spec.shape[0] for spec in self._inputs.specs if spec.shape} - {None}
        return trace_batched(self._trace, inputs, next(iter(fixed), None))

    def close(self) -> None:
        """Nothing to free: the caller owns the model."""

    def _trace(self, inputs: Arrays) -> Arrays:
        tensors = {name: tf.convert_to_tensor(array) for name, array in inputs.items()}
        calls = _Calls()
        try:
            with calls.watching(self._inputs.model), observe_attention(calls.add):
                self._inputs.call(tensors)
        except Exception as error:  # a user's layers may raise anything
            raise ModelError(f"Keras fails: {reason(error)}") from error
        return calls.tensors


class _Calls:
    """The calls of the layers of a model, and what they gave."""

    def __init__(self) -> None:
        self.tensors: Arrays = {}
        self._path: list[str] = []
        self._loops = 0
        self._counts: Counter[str] = Counter()

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """Observe every call of a layer, or of an operation of a functional graph, within the block."""
        watched = [(each, _method(each)) for each in _operations(model)]
        watched = [(each, method) for each, method in watched if method not in vars(each)]
        try:
            for each, method in watched:
                vars(each)[method] = self._wrapped(each, getattr(each, method))
            yield
        finally:
            for each, method in watched:
                vars(each).pop(method, None)

    def add(self, role: str, tensor: Any) -> None:
        """Keep a tensor computed by the layer that is being called."""
        if not self._loops:
            self._keep(role, [tensor])

    def _wrapped(self, operation: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        role = next((role for kind, role in _ROLES.items() if isinstance(operation, kind)), type(operation).__name__)
        is_loop, is_model = isinstance(operation, _LOOPS), isinstance(operation, keras.Model)

        def wrapped(*args: Any, **options: Any) -> Any:
            path = "/".join([*self._path, operation.name])
            self._counts[path] += 1
            number = self._counts[path]
            self._path.append(operation.name if number == 1 else f"{operation.name} ({number})")
            self._loops += is_loop
            try:
                outputs = call(*args, **options)
                if self._loops == is_loop and not is_model:  # a model gives what its last layer gave
                    self._keep(role, keras.tree.flatten(outputs))
                return outputs
            finally:
                self._loops -= is_loop
                self._path.pop()

        return wrapped

    def _keep(self, role: str, tensors: list[Any]) -> None:
        for number, tensor in enumerate(tensors):
            if isinstance(tensor, tf.Tensor) and not tf.is_symbolic_tensor(tensor) and tensor.dtype.is_floating:
                name = role if len(tensors) == 1 else f"{role} {number}"
                self.tensors[f"{'/'.join(self._path)}:{name}"] = np.asarray(tf.cast(tensor, tf.float32))


def _method(operation: Any) -> str:
    """What Keras calls when an operation is called: a layer that it quantized has a method of its own."""
    return "call" if quantization_mode(operation) is None else "quantized_call"


def _operations(model: Any) -> list[Any]:
    """The layers of a model but itself, nested ones included, and the operations of functional graphs among them."""
    layers = flat_layers(model)
    graphs = [each for each in layers if isinstance(each, keras.Model)]
    operations = [operation for graph in graphs for operation in getattr(graph, "operations", ())]
    unique = {id(each): each for each in [*layers, *operations] if each is not model}
    return list(unique.values())
