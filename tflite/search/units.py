"""The units of a model, to each of which a search gives a precision, and the precisions each can have."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from attnexport.tflite.float_core import float_outputs, joined
from attnexport.tflite.graph import Graph, Operator, Subgraph, scope_name
from attnexport.tflite.recipes import LayerRule

# Operators that the quantizer and the kernels support, by the type of weights and activations.
_INT4 = frozenset({"FULLY_CONNECTED", "CONV_2D", "EMBEDDING_LOOKUP", "GATHER"})
_DYNAMIC = _INT4 | {"BATCH_MATMUL", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}
_STATIC = _DYNAMIC - {"EMBEDDING_LOOKUP"}
_FLOAT16 = (_INT4 | _DYNAMIC) - {"BATCH_MATMUL"}
_BITS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}
_PRODUCTS = ("MatMul", "Tensordot", "Conv2D", "einsum/Einsum")


@dataclass(frozen=True)
class Level:
    """A precision: types of weights and activations, and how weights are rounded."""

    weights: str
    activations: str = "float32"
    weight_algorithm: str = "minmax"

    @property
    def name(self) -> str:
        """Name of the recipe with this precision."""
        if self.weights in ("float32", "float16"):
            return self.weights
        if self.activations == "float32":
            return f"{self.weights} weights"
        if self.activations == "dynamic":
            return "dynamic" if self.weights == "int8" else self.weights
        return self.activations if self.weights == self.activations else f"{self.activations}x{self.weights[-1]}"


FLOAT32, FLOAT16 = Level("float32"), Level("float16")


@dataclass(frozen=True)
class Unit:
    """Operators with a common precision: those of one weight matrix, or connected ones without weights.

    Attributes:
        name: Name for people.
        outputs: Tensor names of their first outputs.
        operators: Names of their kernels.
        elements: Number of their weights; 0 if they have none.
    """

    name: str
    outputs: tuple[str, ...]
    operators: frozenset[str]
    elements: int = 0

    def bytes_at(self, level: Level) -> int:
        """Bytes of its weights in a precision."""
        return self.elements * _BITS[level.weights] // 8

    def can_be(self, level: Level) -> bool:
        """Whether kernels support a precision; float32 always is."""
        if level.weights == "float32":
            return True
        if level.weights == "float16":
            return bool(self.elements) and self.operators <= _FLOAT16
        if level.activations in ("int8", "int16"):
            return not self.elements or self.operators <= _STATIC
        return bool(self.elements) and self.operators <= (_INT4 if level.weights == "int4" else _DYNAMIC)

    def ladder(self, levels: Sequence[Level]) -> tuple[Level, ...]:
        """The levels it can have, the lowest first; the last is float16 if it can have that, else float32."""
        usable = [level for level in levels if self.can_be(level)]
        return (*usable, FLOAT16 if self.can_be(FLOAT16) else FLOAT32)


def pattern_of(units: Sequence[Unit]) -> str:
    """A regular expression that matches exactly the operators of some units."""
    return f"^(?:{'|'.join(re.escape(name) for unit in units for name in unit.outputs)})$"


def rule_for(units: Sequence[Unit], level: Level) -> LayerRule:
    """The rule that gives units a precision."""
    return LayerRule(pattern_of(units), level.weights, level.activations, level.weight_algorithm)


def weighted_units(graph: Graph) -> list[Unit]:
    """The units with weights; operators that share a matrix, even across signatures, are one unit."""
    groups: dict[int, tuple[list[tuple[Subgraph, Operator]], int]] = {}
    for subgraph, operator in graph.operators:
        weights = subgraph.weights(operator)
        if weights and operator.outputs:
            elements = sum(math.prod(each.shape) for each in weights)
            groups.setdefault(weights[0].buffer, ([], elements))[0].append((subgraph, operator))
    return _distinct([_unit(graph, members, elements) for members, elements in groups.values()])


def joined_units(graph: Graph, keep_float: Sequence[str]) -> list[Unit]:
    """The units without weights that a recipe quantizes: operators connected through such operators."""
    done, units = set(float_outputs(graph, keep_float)), []
    for subgraph in graph.subgraphs:
        for operator in subgraph.operators:
            if not operator.outputs or subgraph.weights(operator):
                continue
            if subgraph.tensors[operator.outputs[0]].name in done:
                continue
            members = [(subgraph, each) for each in joined(subgraph, [operator])]
            unit = _unit(graph, members, 0)
            done.update(unit.outputs)
            if any(subgraph.tensors[index].dtype == "float32" for _, each in members for index in each.outputs):
                units.append(unit)
    return _distinct(units)


def _unit(graph: Graph, members: Sequence[tuple[Subgraph, Operator]], elements: int) -> Unit:
    names = dict.fromkeys(subgraph.tensors[operator.outputs[0]].name for subgraph, operator in members)
    first = _name(graph, *members[0])
    return Unit(first, tuple(names), frozenset(operator.name for _, operator in members), elements)


def _name(graph: Graph, subgraph: Subgraph, operator: Operator) -> str:
    """An output's name, or the layer's path without the model's name and the converter's suffix."""
    for signature, number in graph.signatures.items():
        if graph.subgraphs[number] is subgraph:
            for name, index in graph.tensors.get(signature, ({}, {}))[1].items():
                if index in operator.outputs:
                    return name
    # Fused operators have the names of all their parts; the product's names the layer.
    paths = subgraph.tensors[operator.outputs[0]].name.split(";")
    path = next((each for each in paths if each.endswith(_PRODUCTS)), paths[0])
    parts = [scope_name(part) for part in path.split("/")]
    return "/".join(parts[1:-1] or parts)


def _distinct(units: Sequence[Unit]) -> list[Unit]:
    """Units with distinct names."""
    names = [unit.name for unit in units]
    return [
        unit if names.count(unit.name) == 1 else replace(unit, name=f"{unit.name}:{names[: at + 1].count(unit.name)}")
        for at, unit in enumerate(units)
    ]
