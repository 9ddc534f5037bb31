"""The weights that stay float where activations do, because quantizing them saves next to nothing.

Each quantized matrix adds about the same noise, whatever its size, so the smallest ones are left as they are for a few
per cent of the file, as TFLiteConverter leaves those below 1024 elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .graph import Graph
from .recipes import Recipe

_MOST_ELEMENTS = 1024
_SHARE = 0.04  # of the quantized file's size that they may add together
_SHARE_OF_WEIGHTS = 0.05  # of all elements; what a recipe's name says must hold of the others
_BYTES = {"int8": 1.0, "int4": 0.5}
_BESIDE = 100  # bytes of a tensor or operator in the file, beside its constants


@dataclass
class _Matrix:
    elements: int
    readers: list[str] = field(default_factory=list)


def small_operators(graph: Graph, recipe: Recipe) -> Sequence[str]:
    """The operators whose weights stay float, by the name of their first output; none by static recipes.

    Args:
        graph: The float32 model.
        recipe: The recipe.
    """
    width = _BYTES.get(recipe.weights)
    if width is None or recipe.activations not in ("dynamic", "float32"):
        return ()
    matrices: dict[int, _Matrix] = {}
    constants: dict[int, int] = {}
    beside = 0
    for subgraph in graph.subgraphs:
        constants |= {each.buffer: each.constant_bytes for each in subgraph.tensors if each.constant_bytes}
        beside += _BESIDE * (len(subgraph.tensors) + len(subgraph.operators))
        for operator in subgraph.operators:
            for each in subgraph.weights(operator):
                matrix = matrices.setdefault(each.buffer, _Matrix(math.prod(each.shape)))
                matrix.readers.append(subgraph.tensors[operator.outputs[0]].name)
    saved = sum((4 - width) * each.elements for each in matrices.values())
    room = _SHARE * (sum(constants.values()) - saved + beside)
    elements = min(room / (4 - width), _SHARE_OF_WEIGHTS * sum(each.elements for each in matrices.values()))
    names: list[str] = []
    for matrix in sorted(matrices.values(), key=lambda each: each.elements):
        elements -= matrix.elements
        if elements < 0 or matrix.elements >= _MOST_ELEMENTS:
            break
        names += matrix.readers
    return names
