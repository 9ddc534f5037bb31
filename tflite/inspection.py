"""The contents of a .tflite, and what the XNNPACK delegate takes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from attnexport.core.signature import Signature

from .graph import CONVERSIONS, Graph, Subgraph, read_graph
from .metadata import ModelMetadata, read_metadata
from .partitions import Delegation, delegation, delegations

__all__ = ["Delegation", "SignatureInspection", "TFLiteInspection", "delegation", "inspect_tflite"]


@dataclass(frozen=True)
class WeightedOperator:
    """An operator with weights.

    Attributes:
        name: Its kernel's name.
        tensor: The tensor that it computes, whose name `--keep-float` and a recipe's layers match.
        dtype: Type of its weights.
        bytes: Size of its weights.
    """

    name: str
    tensor: str
    dtype: str
    bytes: int


@dataclass(frozen=True)
class SignatureInspection:
    """One signature of a .tflite.

    Attributes:
        signature: The signature, with quantized types and fixed batch.
        operators: Counts of operators.
        delegation: What the XNNPACK delegate takes; None if unknown.
        activation_bytes: Peak size of the activations, without the kernels' own scratch memory.
        undelegated: Why the delegation is unknown; None if it is known.
        quantization: Scale and zero point of quantized inputs and outputs, by name: (q - zero point) * scale.
        weighted: Its operators with weights, in order of execution.
    """

    signature: Signature
    operators: Mapping[str, int]
    delegation: Delegation | None
    activation_bytes: int
    undelegated: str | None = None
    quantization: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    weighted: tuple[WeightedOperator, ...] = ()


@dataclass(frozen=True)
class TFLiteInspection:
    """The contents of a .tflite.

    Attributes:
        size_bytes: Size of the file.
        constant_bytes: Bytes of constants by type.
        signatures: The signatures; if the file has none, its first subgraph as `main`.
        min_runtime_version: The oldest TFLite runtime that runs it, if the file says so.
        advice: Changes that would make it faster, a sentence each.
        metadata: What attnexport wrote into it: the model's name, version and labels.
    """

    size_bytes: int
    constant_bytes: Mapping[str, int]
    signatures: tuple[SignatureInspection, ...]
    min_runtime_version: str | None
    advice: tuple[str, ...]
    metadata: ModelMetadata | None = None


def inspect_tflite(content: bytes) -> TFLiteInspection:
    """Read the contents of a .tflite, and load it in a child process to see what the XNNPACK delegate takes.

    Args:
        content: The file's bytes.

    Raises:
        ModelError: if it is not a .tflite, or is damaged, or crashes the child process.

    Example:
        >>> import tensorflow as tf
        >>> twice = tf.function(lambda x: {"y": x + x}, [tf.TensorSpec((1, 3), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=twice)
        >>> inspection = inspect_tflite(tf.lite.TFLiteConverter.from_saved_model("model").convert())
        >>> inspection.signatures[0].operators, inspection.signatures[0].delegation.partitions
        ({'ADD': 1}, 1)
    """
    graph = read_graph(content)
    names = tuple(graph.signatures) or (None,)
    signatures = tuple(_inspect(graph, name, each) for name, each in zip(names, delegations(content), strict=True))
    constants: Counter[str] = Counter()
    for tensor in graph.constants:
        constants[tensor.dtype] += tensor.constant_bytes
    return TFLiteInspection(
        len(content),
        dict(constants),
        signatures,
        graph.min_runtime_version,
        tuple(_advice(graph, signatures)),
        read_metadata(content),
    )


def _inspect(graph: Graph, name: str | None, delegated: Delegation | str) -> SignatureInspection:
    subgraph = graph.subgraphs[0 if name is None else graph.signatures[name]]
    known, reason = (None, delegated) if isinstance(delegated, str) else (delegated, None)
    return SignatureInspection(
        _unnamed(subgraph) if name is None else graph.signature(name),
        dict(Counter(each.name for each in subgraph.operators)),
        known,
        _activation_bytes(graph, subgraph),
        reason,
        _quantization(graph, name, subgraph),
        tuple(_weighted(subgraph)),
    )


def _weighted(subgraph: Subgraph) -> Iterator[WeightedOperator]:
    for operator in subgraph.operators:
        weights = subgraph.weights(operator)
        if weights and operator.outputs:
            size = sum(each.constant_bytes for each in weights)
            yield WeightedOperator(operator.name, subgraph.tensors[operator.outputs[0]].name, weights[0].dtype, size)


def _quantization(graph: Graph, name: str | None, subgraph: Subgraph) -> dict[str, tuple[float, int]]:
    affines = {}
    for named in graph.tensors.get(name or "", ()):
        for each, index in named.items():
            affine = subgraph.tensors[index].affine
            if affine is not None:
                affines[each] = affine
    return affines


def _unnamed(subgraph: Subgraph) -> Signature:
    """The signature of a file without one: its first subgraph, with the names of its tensors."""
    inputs, outputs = (
        {subgraph.tensors[index].name or str(index): index for index in indices}
        for indices in (subgraph.inputs, subgraph.outputs)
    )
    return subgraph.function("main", inputs, outputs)


def _activation_bytes(graph: Graph, subgraph: Subgraph, given: Collection[int] = ()) -> int:
    """Peak bytes of computed tensors, each alive from its operator to its last use.

    What an operator runs in a loop or branch has memory of its own meanwhile, apart from what it is given.
    """
    last = {index: number for number, each in enumerate(subgraph.operators) for index in each.inputs}
    last |= dict.fromkeys(subgraph.outputs, len(subgraph.operators))
    alive = set(subgraph.activations(subgraph.inputs)).difference(given)
    peak = 0
    for number, operator in enumerate(subgraph.operators):
        # What a loop passes through and nobody reads is not allocated.
        alive.update(each for each in operator.outputs if not operator.calls or each in last)
        called = [graph.subgraphs[each] for each in operator.calls]
        inside = sum(_activation_bytes(graph, each, each.inputs) for each in called)
        peak = max(peak, sum(_bytes(subgraph, index) for index in alive) + inside)
        alive = {index for index in alive if last.get(index, -1) > number}
    return peak


def _bytes(subgraph: Subgraph, index: int) -> int:
    tensor = subgraph.tensors[index]
    count = math.prod(1 if size < 0 else size for size in tensor.shape)
    return -(-count * _bits(tensor.dtype) // 8)


def _bits(dtype: str) -> int:
    """Bits of one element; 0 for types whose size is known only at run time."""
    digits = "".join(each for each in dtype if each.isdigit())
    return int(digits) if digits else {"bool": 8}.get(dtype, 0)


def _advice(graph: Graph, signatures: tuple[SignatureInspection, ...]) -> list[str]:
    advice = []
    if not graph.signatures:
        advice.append("it has no signatures, so attnexport cannot run it; convert it again from a SavedModel")
    for each in signatures:
        name, delegated = each.signature.name, each.delegation
        if any(spec.shape and None in spec.shape for spec in each.signature.inputs):
            advice.append(f"{name}: free dimensions break the delegate's partitions; fix them with --batch and --steps")
        # A loop lies between two partitions.
        if delegated is None or (delegated.partitions <= 1 + len(delegated.inside) and not delegated.left):
            continue
        heavy = sorted(delegated.left.keys() - CONVERSIONS)
        if "BATCH_MATMUL" in heavy:
            advice.append(
                f"{name}: XNNPACK takes no BATCH_MATMUL of two quantized activations whose right operand has a zero "
                "point other than 0, so attention runs on slow kernels; files that attnexport quantizes do not have one"
            )
        elif heavy or delegated.partitions > 1 + len(delegated.inside):
            left = f", and leaves {', '.join(heavy)} to slower kernels" if heavy else ""
            pieces = "1 partition" if delegated.partitions == 1 else f"{delegated.partitions} partitions"
            advice.append(f"{name}: XNNPACK takes it in {pieces}{left}")
    return advice
