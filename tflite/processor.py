"""What int8 is worth on this processor."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import cache
from pathlib import Path

from .graph import Graph, Operator, Subgraph
from .recipes import Recipe

# Flags of processors that multiply and add int8 in one instruction: x86, and Arm's dot products.
INT8_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
_MOST_OF_CORE = 0.3  # of the products; at 128 steps of 256 features it is 0.17, at 512 steps 0.45


@cache
def processor_flags() -> frozenset[str]:
    """The features of this processor; empty if they are not known."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, flags = line.partition(":")
            if name.strip().lower() in ("flags", "features"):
                return frozenset(flags.split())
    return frozenset()


def int8_note(graph: Graph, recipe: Recipe, flags: frozenset[str] | None = None) -> str | None:
    """Why int8 weights will not make a model faster on this processor, and what will; None if they do.

    Args:
        graph: The model.
        recipe: The recipe it was made by.
        flags: Features of the processor; those of this one if None.
    """
    flags = processor_flags() if flags is None else flags
    if not flags or flags & INT8_PRODUCTS or recipe.integer_only or recipe.weights != "int8":
        return None
    if recipe.activations not in ("int8", "dynamic") or (share := core_share(graph)) < _MOST_OF_CORE:
        return None
    return (
        f"{recipe.name}: about as fast as float32 on this processor, which has no int8 dot products: {share:.0%} of "
        "its products are attention's and stay float32. int4 was the fastest here; with VNNI or on Arm int8 is faster"
    )


def core_share(graph: Graph) -> float:
    """The share of multiplications between activations, such as attention's, among all in the signatures; 0 to 1."""
    between, weighted = 0.0, 0.0
    for number in set(graph.signatures.values()):
        subgraph = graph.subgraphs[number]
        for operator in subgraph.operators:
            if subgraph.weights(operator):
                weighted += _multiplications(subgraph, operator)
            elif operator.name == "BATCH_MATMUL":
                between += _multiplications(subgraph, operator)
    return between / (between + weighted) if between else 0.0


def _multiplications(subgraph: Subgraph, operator: Operator) -> float:
    results = math.prod(subgraph.tensors[operator.outputs[0]].shape)
    weights = subgraph.weights(operator)
    if operator.name in ("GATHER", "EMBEDDING_LOOKUP"):
        return 0.0
    if weights and operator.name != "BATCH_MATMUL":
        shape = weights[0].shape
        channels = shape[-1] if operator.name == "DEPTHWISE_CONV_2D" else shape[0]
        return results * math.prod(shape) / channels
    return float(results * subgraph.tensors[operator.inputs[0]].shape[-1])
