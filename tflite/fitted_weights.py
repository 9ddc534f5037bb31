"""A float32 model whose weights are already those that some integers stand for.

The quantizer rounds weights to the nearest integer. Weights that are multiples of their scale stay what they are, so
whatever chose them (GPTQ, say) decides what is in the file; the quantizer gets the scales as ranges of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from attnexport.core.signature import Array

from .constants import constant, with_constants
from .gptq import fit_integers
from .graph import Graph
from .layer_inputs import LayerInputs
from .recipes.recipe import INTEGER_BITS

_BIAS = 2  # place among the inputs of FULLY_CONNECTED


@dataclass(frozen=True)
class FittedModel:
    """A float32 model with fitted weights, and by their tensors' names what bounds each row, `[outputs]`."""

    model: bytes
    bounds: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class _Layer:
    """A dense layer: the names of its outputs, its matrix, and its bias if no other layer has it, by buffer."""

    outputs: tuple[str, ...]
    weights: int
    bias: int | None


@dataclass(frozen=True)
class _Fit:
    weights: Array
    bound: Array
    bias_change: Array


@dataclass
class WeightFitter:
    """Fits the weights of dense layers to their inputs; each layer once for each number of bits.

    Attributes:
        model: A float32 .tflite.
        graph: Its contents.
        inputs: Moments of the layers' inputs, by the buffer of the matrix.
    """

    model: bytes
    graph: Graph
    inputs: Mapping[int, LayerInputs]
    _fits: dict[tuple[int, int], _Fit] = field(default_factory=dict, repr=False)

    @property
    def outputs(self) -> list[str]:
        """The outputs of the operators whose weights can be fitted."""
        return [name for layer in self._layers for name in layer.outputs]

    def fit(self, bits: Mapping[str, int]) -> FittedModel:
        """The model with fitted weights.

        Args:
            bits: The bits of each operator's weights that are to be fitted, by the tensor name of its output. Others
                stay as they are, and so does a matrix that operators want in several ways.
        """
        changed: dict[int, Array] = {}
        bounds: dict[str, Array] = {}
        names = self._names()
        for layer in self._layers:
            wanted = {bits.get(name) for name in layer.outputs}
            if len(wanted) != 1 or None in wanted:
                continue
            fit = self._fit(layer, next(each for each in wanted if each is not None))
            changed[layer.weights] = fit.weights
            if layer.bias is not None:
                changed[layer.bias] = constant(self.model, self.graph, layer.bias) + fit.bias_change
            bounds |= dict.fromkeys(names[layer.weights], fit.bound)
        return FittedModel(with_constants(self.model, self.graph, changed), bounds)

    def save(self, path: Path) -> None:
        """Fit all layers for all numbers of bits, and write that to a file."""
        arrays: dict[str, Array] = {}
        for layer in self._layers:
            for bits in INTEGER_BITS.values():
                fit = self._fit(layer, bits)
                for name, array in (("weights", fit.weights), ("bound", fit.bound), ("bias", fit.bias_change)):
                    arrays[f"{layer.weights}.{bits}.{name}"] = array
        np.savez(path, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path, model: bytes, graph: Graph) -> WeightFitter:
        """The fitter of a model whose layers were fitted elsewhere, as `save` wrote it."""
        fits: dict[tuple[int, int], _Fit] = {}
        with np.load(path) as arrays:
            for buffer, bits in {tuple(map(int, key.split(".")[:2])) for key in arrays}:
                of = f"{buffer}.{bits}"
                fits[buffer, bits] = _Fit(arrays[f"{of}.weights"], arrays[f"{of}.bound"], arrays[f"{of}.bias"])
        return cls(model, graph, {}, fits)

    def _fit(self, layer: _Layer, bits: int) -> _Fit:
        key = layer.weights, bits
        if key not in self._fits:
            inputs = self.inputs[layer.weights]
            weights = constant(self.model, self.graph, layer.weights).reshape(-1, len(inputs.mean)).astype(np.float64)
            # What the errors add to the mean output, the bias takes away again.
            moments = inputs.moments if layer.bias is None else inputs.covariance
            integers = fit_integers(weights, moments, bits)
            most = 2.0 ** (bits - 1) - 1
            self._fits[key] = _Fit(
                integers.weights.astype(np.float32),
                (integers.scales * most).astype(np.float32),
                ((weights - integers.weights) @ inputs.mean).astype(np.float32),
            )
        return self._fits[key]

    @cached_property
    def _layers(self) -> list[_Layer]:
        known = {*self.inputs, *(buffer for buffer, _ in self._fits)}
        outputs: dict[int, list[str]] = {}
        biases: dict[int, set[int | None]] = {}  # of each matrix
        readers: dict[int, set[int | None]] = {}  # of each constant: the matrix whose bias it is, None for others
        for subgraph, operator in self.graph.operators:
            matrix = next((each.buffer for each in subgraph.weights(operator) if each.buffer in known), None)
            bias = None
            for place, index in enumerate(operator.inputs):
                constant_read = subgraph.tensors[index]
                if constant_read.constant_bytes:
                    is_bias = matrix is not None and place == _BIAS
                    bias = constant_read.buffer if is_bias else bias
                    readers.setdefault(constant_read.buffer, set()).add(matrix if is_bias else None)
            if matrix is not None:
                outputs.setdefault(matrix, []).append(subgraph.tensors[operator.outputs[0]].name)
                biases.setdefault(matrix, set()).add(bias)
        layers = []
        for matrix, names in outputs.items():
            bias, *others = biases[matrix]
            is_own = bias is not None and not others and readers[bias] == {matrix}
            layers.append(_Layer(tuple(names), matrix, bias if is_own else None))
        return layers

    def _names(self) -> dict[int, list[str]]:
        """The names of the tensors of each buffer."""
        names: dict[int, list[str]] = {}
        for subgraph in self.graph.subgraphs:
            for tensor in subgraph.tensors:
                if tensor.constant_bytes:
                    names.setdefault(tensor.buffer, []).append(tensor.name)
        return names
