"""The weights that stay float where activations do, because quantizing them saves next to nothing.

Each quantized matrix adds about the same noise, whatever its size, so the smallest ones are left as they are for a few
per cent of the file, as TFLiteConverter leaves those below 1024 elements. Where rows are short, their scales and zero
points take more than narrow elements save: such matrices are smaller in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .graph import Graph
from .recipes import Recipe

_MOST_ELEMENTS = 1024
_SHARE = 0.04  # of the quantized file's size that they may add together
SHARE_OF_WEIGHTS = 0.25  # of all elements, and as much in short rows; a recipe's name must hold of the others
_BYTES = {"int8": 1.0, "int4": 0.5}
_BYTES_OF_A_ROW = 12  # its scale and zero point
_BESIDE = 100  # bytes of a tensor or operator in the file, beside its constants


@dataclass
class _Matrix:
    elements: int
    rows: int
    readers: list[str] = field(default_factory=list)

    def saved(self, width: float) -> float:
        """The bytes that it takes less with elements of this many bytes."""
        return (4 - width) * self.elements - _BYTES_OF_A_ROW * self.rows


def keeps_small(recipe: Recipe) -> bool:
    """Whether a recipe leaves small weights float: static ones do not."""
    return recipe.weights in _BYTES and recipe.activations in ("dynamic", "float32")


def small_operators(graph: Graph, recipe: Recipe) -> Sequence[str]:
    """The operators whose weights stay float, by the name of their first output; none by static recipes.

    Args:
        graph: The float32 model.
        recipe: The recipe.
    """
    if not keeps_small(recipe):
        return ()
    width = _BYTES[recipe.weights]
    matrices: dict[int, _Matrix] = {}
    constants: dict[int, int] = {}
    beside = 0
    for subgraph in graph.subgraphs:
        constants |= {each.buffer: each.constant_bytes for each in subgraph.tensors if each.constant_bytes}
        beside += _BESIDE * (len(subgraph.tensors) + len(subgraph.operators))
        for operator in subgraph.operators:
            for each in subgraph.weights(operator):
                rows = each.shape[-1 if operator.name == "DEPTHWISE_CONV_2D" else 0] if each.shape else 1
                matrix = matrices.setdefault(each.buffer, _Matrix(math.prod(each.shape), rows))
                matrix.readers.append(subgraph.tensors[operator.outputs[0]].name)
    room = _SHARE * (sum(constants.values()) - sum(each.saved(width) for each in matrices.values()) + beside)
    total = sum(each.elements for each in matrices.values())
    elements = short = SHARE_OF_WEIGHTS * total
    names: list[str] = []
    for matrix in sorted(matrices.values(), key=lambda each: each.elements):
        if (saved := matrix.saved(width)) <= 0:
            short -= matrix.elements
            names += matrix.readers if short >= 0 else []
            continue
        elements -= matrix.elements
        room -= saved
        if min(elements, room) < 0 or matrix.elements >= _MOST_ELEMENTS:
            break
        names += matrix.readers
    return names
