"""Whether a .tflite holds what its manifest says: the types of its weights and activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attnexport.core.documents import check
from attnexport.core.errors import ContentError

from .gate import format_shares, weight_shares
from .graph import Graph
from .recipes import Recipe

# By precision the type of the weights, and of the activations if they are integers.
_CLAIMS = {
    "float32": ("float32", None),
    "float16": ("float16", None),
    "dynamic": ("int8", None),
    "int8": ("int8", "int8"),
    "int16x8": ("int8", "int16"),
    "int4": ("int4", None),
}


def false_claims(graph: Graph, precision: str, recipe: Mapping[str, Any] | None) -> Iterator[str]:
    """What of a file is not as its precision and its recipe say, a sentence each.

    Args:
        graph: The file's contents.
        precision: Its row of parity's table of budgets, in the manifest.
        recipe: Its recipe there.
    """
    if precision not in _CLAIMS:
        return
    try:
        known = None if recipe is None else check(recipe, Recipe, "its recipe")
    except ContentError as error:
        yield str(error)
        return
    if known is not None and known.precision != precision:
        yield f"it is said to be {precision}, and its recipe {known.name!r} is {known.precision}"
    weights, activations = _CLAIMS[precision]
    shares = weight_shares(graph)
    if shares and not shares.get(weights):
        yield f"it is said to have {weights} weights ({precision}), and its weights are {format_shares(shares)}"
    found = integer_activations(graph)
    if activations is not None and activations not in found:
        yield f"it is said to compute in {activations} ({precision}), and nothing in it does"
    elif activations is None and found and known is not None and not known.layers:
        yield f"it is said to compute in float ({precision}), and computes in {', '.join(sorted(found))}"


def integer_activations(graph: Graph) -> set[str]:
    """The integer types that something is computed in."""
    tensors = (tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors)
    return {each.dtype for each in tensors if each.quantized and not each.constant_bytes} & {"int8", "int16"}
