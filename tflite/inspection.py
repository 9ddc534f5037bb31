"""What a .tflite holds and what its delegate makes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from attnexport.core.signature import Signature

from .graph import CONVERSIONS, Graph, Subgraph, read_graph
from .partitions import Delegation, delegation, delegations

__all__ = ["Delegation", "SignatureInspection", "TFLiteInspection", "delegation", "inspect_tflite"]


@dataclass(frozen=True)
class SignatureInspection:
    """One signature of a .tflite.

    Attributes:
        signature: With quantized types and fixed batch as they stand in the file.
        operators: Operators with counts.
        delegation: None where it cannot be told.
        activation_bytes: The most that is alive at once between operators, without what kernels need for themselves.
        undelegated: Why the delegation cannot be told, None where it can.
        quantization: By name, scale and zero point of quantized inputs and outputs: (q - zero point) * scale.
    """

    signature: Signature
    operators: Mapping[str, int]
    delegation: Delegation | None
    activation_bytes: int
    undelegated: str | None = None
    quantization: Mapping[str, tuple[float, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class TFLiteInspection:
    """A .tflite, looked into.

    Attributes:
        size_bytes: Of the file.
        constant_bytes: Bytes of constants by type.
        signatures: What can be run; where the file names none, its first subgraph as `main`.
        min_runtime_version: The TFLite runtime that it needs.
        advice: What would make it faster, a sentence each.
    """

    size_bytes: int
    constant_bytes: Mapping[str, int]
    signatures: tuple[SignatureInspection, ...]
    min_runtime_version: str | None
    advice: tuple[str, ...]


def inspect_tflite(content: bytes) -> TFLiteInspection:
    """Look into a .tflite: what it holds is read, and what the delegate takes is found in a process of its own.

    Raises:
        ModelError: where it is no .tflite, or a damaged one, or takes that process down.
    """
    graph = read_graph(content)
    names = tuple(graph.signatures) or (None,)
    found = tuple(_inspect(graph, name, each) for name, each in zip(names, delegations(content), strict=True))
    constants: Counter[str] = Counter()
    for tensor in graph.constants:
        constants[tensor.dtype] += tensor.constant_bytes
    return TFLiteInspection(
        len(content), dict(constants), found, graph.min_runtime_version, tuple(_advice(graph, found))
    )


def _inspect(graph: Graph, name: str | None, delegated: Delegation | str) -> SignatureInspection:
    subgraph = graph.subgraphs[0 if name is None else graph.signatures[name]]
    known, reason = (None, delegated) if isinstance(delegated, str) else (delegated, None)
    return SignatureInspection(
        _unnamed(subgraph) if name is None else graph.signature(name),
        dict(Counter(each.name for each in subgraph.operators)),
        known,
        _activation_bytes(subgraph),
        reason,
        _quantization(graph, name, subgraph),
    )


def _quantization(graph: Graph, name: str | None, subgraph: Subgraph) -> dict[str, tuple[float, int]]:
    found = {}
    for named in graph.tensors.get(name or "", ()):
        for each, index in named.items():
            affine = subgraph.tensors[index].affine
            if affine is not None:
                found[each] = affine
    return found


def _unnamed(subgraph: Subgraph) -> Signature:
    """What a file without signatures takes and gives, by the names of its tensors."""
    inputs, outputs = (
        {subgraph.tensors[index].name or str(index): index for index in indices}
        for indices in (subgraph.inputs, subgraph.outputs)
    )
    return subgraph.function("main", inputs, outputs)


def _activation_bytes(subgraph: Subgraph) -> int:
    """The most bytes of computed tensors alive at once, each from its operator to its last use."""
    last = {index: number for number, each in enumerate(subgraph.operators) for index in each.inputs}
    last |= dict.fromkeys(subgraph.outputs, len(subgraph.operators))
    alive = dict.fromkeys(subgraph.activations(subgraph.inputs), 0)
    most = 0
    for number, operator in enumerate(subgraph.operators):
        alive |= dict.fromkeys(operator.outputs, number)
        most = max(most, sum(_bytes(subgraph, index) for index in alive))
        alive = {index: since for index, since in alive.items() if last.get(index, -1) > number}
    return most


def _bytes(subgraph: Subgraph, index: int) -> int:
    tensor = subgraph.tensors[index]
    count = math.prod(1 if size < 0 else size for size in tensor.shape)
    return -(-count * _bits(tensor.dtype) // 8)


def _bits(dtype: str) -> int:
    """Of one element; 0 for those whose size is known when it runs."""
    digits = "".join(each for each in dtype if each.isdigit())
    return int(digits) if digits else {"bool": 8}.get(dtype, 0)


def _advice(graph: Graph, signatures: tuple[SignatureInspection, ...]) -> list[str]:
    found = []
    if not graph.signatures:
        found.append("it has no signatures, and nothing of attnexport runs it; convert it again from a SavedModel")
    for each in signatures:
        name, delegated = each.signature.name, each.delegation
        if any(spec.shape and None in spec.shape for spec in each.signature.inputs):
            found.append(f"{name}: free dimensions break the delegate's partitions; fix them with --batch and --steps")
        if delegated is None or (delegated.partitions <= 1 and not delegated.left):
            continue
        heavy = sorted(delegated.left.keys() - CONVERSIONS)
        if "BATCH_MATMUL" in heavy:
            found.append(
                f"{name}: XNNPACK does not take BATCH_MATMUL of two quantized activations, so attention runs on slow "
                "kernels; --quantize int8 keeps it in float32, unless with --integer-only"
            )
        elif heavy or delegated.partitions > 1:
            left = f", and leaves {', '.join(heavy)} to slower kernels" if heavy else ""
            found.append(f"{name}: XNNPACK takes it in {delegated.partitions} partitions{left}")
    return found
