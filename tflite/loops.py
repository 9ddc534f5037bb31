"""Attention in blocks of queries, as its loop stands in a .tflite: it computes in float32."""

from __future__ import annotations

import re

from attnexport.core.errors import ModelError

from .graph import Graph, scope_name
from .recipes import Recipe

# The scope that attention in blocks computes in, below its layer.
_BLOCKS = re.compile(r"(?:[^;]*?/)?([^/;]+)/blocks/while")


def block_loops(graph: Graph) -> list[str]:
    """The names of the layers that attend in blocks, in order."""
    found: dict[str, None] = {}
    for subgraph, operator in graph.operators:
        if operator.name == "WHILE":
            names = (subgraph.tensors[index].name for index in operator.outputs)
            match = next((each for name in names if (each := _BLOCKS.search(name))), None)
            found |= dict.fromkeys([] if match is None else [scope_name(match[1])])
    return list(found)


def check_loops(graph: Graph, recipe: Recipe) -> None:
    """Refuse attention in blocks if everything is to be integer.

    Raises:
        ModelError: naming the layers.
    """
    if recipe.integer_only and (layers := block_loops(graph)):
        raise ModelError(
            f"recipe {recipe.name!r}: {_named(layers)} a loop in float32, which calibration does not see into; for "
            "integers alone build the layer with attention_block=None"
        )


def loop_note(graph: Graph, recipe: Recipe) -> str | None:
    """What attention in blocks means for a recipe of integer activations; None if nothing."""
    layers = block_loops(graph) if recipe.needs_calibration else []
    if not layers:
        return None
    return f"{recipe.name}: {_named(layers)} a loop in float32; the projections around it are {recipe.activations}"


def _named(layers: list[str]) -> str:
    return f"{', '.join(map(repr, layers))} attend{'s' * (len(layers) == 1)} in blocks of queries,"
