"""What a .tflite holds and what its delegate makes of it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnexport.core.errors import ModelError, first_line
from attnexport.core.signature import Signature

from .graph import CONVERSIONS, Subgraph, parse_model, read_graph
from .runner import TFLiteRunner

_CONTROL_FLOW = {"WHILE", "IF", "CALL_ONCE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"}


@dataclass(frozen=True)
class Delegation:
    """What the XNNPACK delegate took of a signature: how many operators, in how many partitions, and what it left."""

    partitions: int
    taken: int
    left: Mapping[str, int]


@dataclass(frozen=True)
class SignatureInspection:
    """One signature of a .tflite.

    Attributes:
        signature: With quantized types and fixed batch as they stand in the file.
        operators: Operators with counts.
        delegation: None where it cannot be told (control flow).
        activation_bytes: The most that is alive at once between operators, without what kernels need for themselves.
    """

    signature: Signature
    operators: Mapping[str, int]
    delegation: Delegation | None
    activation_bytes: int


@dataclass(frozen=True)
class TFLiteInspection:
    """A .tflite, looked into.

    Attributes:
        size_bytes: Of the file.
        constant_bytes: Bytes of constants by type.
        signatures: What can be run.
        min_runtime_version: The TFLite runtime that it needs.
        advice: What would make it faster, a sentence each.
    """

    size_bytes: int
    constant_bytes: Mapping[str, int]
    signatures: tuple[SignatureInspection, ...]
    min_runtime_version: str | None
    advice: tuple[str, ...]


def inspect_tflite(content: bytes) -> TFLiteInspection:
    """Look into a .tflite.

    Raises:
        ModelError: where it is no .tflite, or does not load.
    """
    graph = read_graph(content)
    runner = TFLiteRunner(content, raw=True)
    found = tuple(
        _signature(content, runner.signatures[name], graph.subgraphs[number])
        for name, number in graph.signatures.items()
    )
    constants: Counter[str] = Counter()
    for tensor in graph.constants:
        constants[tensor.dtype] += tensor.constant_bytes
    return TFLiteInspection(len(content), dict(constants), found, graph.min_runtime_version, tuple(_advice(found)))


def delegation(content: bytes, signature: str) -> Delegation | None:
    """What the XNNPACK delegate takes of a signature, None where it cannot be told.

    Raises:
        ModelError: where the file does not load.
    """
    graph = read_graph(content)
    subgraph = graph.subgraphs[graph.signatures[signature]]
    if any(each.name in _CONTROL_FLOW or each.name.startswith("Flex") for each in subgraph.operators):
        return None
    from ai_edge_litert.interpreter import Interpreter

    alone = content if len(graph.subgraphs) == 1 else _cut(content, signature)
    try:
        interpreter = Interpreter(model_content=alone, num_threads=1)
        interpreter.allocate_tensors()
        # Private, and the only way to see the plan; the tests would notice if it went away.
        plan = interpreter._get_ops_details()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"the .tflite does not load: {first_line(error)}") from error
    delegates = [each for each in plan if each["op_name"] == "DELEGATE"]
    operators = [each for each in plan if each["op_name"] != "DELEGATE"]
    producers = {int(index): number for number, each in enumerate(operators) for index in each["outputs"]}
    taken: set[int] = set()
    for delegate in delegates:
        taken |= _behind(delegate, operators, producers)
    left = Counter(each["op_name"] for number, each in enumerate(operators) if number not in taken)
    return Delegation(len(delegates), len(taken), dict(left))


def _signature(content: bytes, signature: Signature, subgraph: Subgraph) -> SignatureInspection:
    operators = Counter(each.name for each in subgraph.operators)
    found = delegation(content, signature.name)
    return SignatureInspection(signature, dict(operators), found, _activation_bytes(subgraph))


def _behind(delegate: Mapping[str, Any], operators: list[Any], producers: Mapping[int, int]) -> set[int]:
    """The operators that a delegate node stands for: those between its inputs and its outputs."""
    inputs = {int(index) for index in delegate["inputs"]}
    found: set[int] = set()
    waiting = [int(index) for index in delegate["outputs"]]
    while waiting:
        index = waiting.pop()
        number = producers.get(index)
        if number is None or number in found:
            continue
        found.add(number)
        waiting += [int(each) for each in operators[number]["inputs"] if int(each) not in inputs]
    return found


def _cut(content: bytes, signature: str) -> bytes:
    """A file with one signature alone: the interpreter tells the plan of the first subgraph only."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = copy.copy(parse_model(content))
    definition = next(each for each in model.signatureDefs if each.signatureKey.decode() == signature)
    model.subgraphs = [model.subgraphs[definition.subgraphIndex]]
    definition.subgraphIndex = 0
    model.signatureDefs = [definition]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


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
    size = {"bool": 1, "string": 0}.get(tensor.dtype) or _item_size(tensor.dtype)
    return int(np.prod(tensor.shape, dtype=np.int64)) * size


def _item_size(dtype: str) -> int:
    digits = "".join(each for each in dtype if each.isdigit())
    return max(1, int(digits or 8) // 8)


def _advice(signatures: tuple[SignatureInspection, ...]) -> list[str]:
    found = []
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
