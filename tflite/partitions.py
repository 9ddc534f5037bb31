"""What the XNNPACK delegate makes of a .tflite."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attnexport.core.child_process import Child
from attnexport.core.errors import ContentError, ModelError, first_line

from .flatbuffer_check import text_of
from .graph import Graph, Subgraph, check_signature_names, parse_model, read_graph

_CONTROL_FLOW = {"WHILE", "IF", "CALL_ONCE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"}


@dataclass(frozen=True)
class Delegation:
    """The part of a signature that the XNNPACK delegate takes.

    Attributes:
        partitions: Number of partitions it takes the operators in.
        taken: Number of operators it takes.
        left: Counts of the operators it leaves.
        left_operators: Their places in the signature's order of execution.
    """

    partitions: int
    taken: int
    left: Mapping[str, int]
    left_operators: tuple[int, ...] = field(default=(), repr=False)


def delegation(content: bytes, signature: str) -> Delegation | None:
    """What the XNNPACK delegate takes of a signature; None if that is unknown: control flow, or Flex operators.

    The file is loaded in this process. `inspect_tflite` is for files that have not been run yet.

    Args:
        content: The file's bytes.
        signature: Name of the signature.

    Raises:
        ModelError: if the file does not load, or has no such signature.

    Example:
        >>> import tensorflow as tf
        >>> twice = tf.function(lambda x: {"y": x + x}, [tf.TensorSpec((1, 3), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=twice)
        >>> delegation(tf.lite.TFLiteConverter.from_saved_model("model").convert(), "serving_default")
        Delegation(partitions=1, taken=1, left={})
    """
    graph = read_graph(content)
    check_signature_names(graph, (signature,))
    return None if _obstacle(_subgraph(graph, signature)) else _plan(content, graph, signature)


def delegations(content: bytes) -> list[Delegation | str]:
    """What the XNNPACK delegate takes of each signature, or a sentence that says why that is unknown.

    They are in the graph's order; a file without signatures has its first subgraph. The file is loaded in a child
    process.

    Raises:
        ModelError: if that process crashes.
    """
    try:
        with Child(running="the interpreter") as child:
            return child.call(plans, content)
    except ContentError as error:
        raise ModelError(f"the .tflite cannot be inspected: {error}; convert it again from its model") from error


def plans(content: bytes) -> list[Delegation | str]:
    """What `delegations` gives, computed in this process."""
    graph = read_graph(content)
    return [_plan_or_reason(content, graph, each) for each in graph.signatures or (None,)]


def _plan_or_reason(content: bytes, graph: Graph, signature: str | None) -> Delegation | str:
    if reason := _obstacle(_subgraph(graph, signature)):
        return reason
    try:
        return _plan(content, graph, signature)
    except ModelError as error:
        return str(error)


def _obstacle(subgraph: Subgraph) -> str | None:
    """Why the plan is unknown, as the operators show; None if it can be read."""
    operators = {each.name for each in subgraph.operators}
    if flex := sorted(each for each in operators if each.startswith("Flex")):
        return f"it holds TensorFlow's own operators ({', '.join(flex)}), which no interpreter here can run"
    if flow := sorted(operators & _CONTROL_FLOW):
        return f"it holds control flow ({', '.join(flow)}), whose branches have plans of their own"
    return None


def _plan(content: bytes, graph: Graph, signature: str | None) -> Delegation:
    from ai_edge_litert.interpreter import Interpreter

    try:
        alone = content if signature is None or len(graph.subgraphs) == 1 else _cut(content, signature)
        interpreter = Interpreter(model_content=alone, num_threads=1)
        interpreter.allocate_tensors()
        # Private, but the only way to see the plan; a test fails if it goes away.
        plan = interpreter._get_ops_details()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"the .tflite does not load: {first_line(error)}") from error
    delegates = [each for each in plan if each["op_name"] == "DELEGATE"]
    operators = [each for each in plan if each["op_name"] != "DELEGATE"]
    producers = {int(index): number for number, each in enumerate(operators) for index in each["outputs"]}
    taken: set[int] = set()
    for delegate in delegates:
        taken |= _behind(delegate, operators, producers)
    left = [number for number in range(len(operators)) if number not in taken]
    return Delegation(
        len(delegates), len(taken), dict(Counter(operators[number]["op_name"] for number in left)), tuple(left)
    )


def _subgraph(graph: Graph, signature: str | None) -> Subgraph:
    return graph.subgraphs[0 if signature is None else graph.signatures[signature]]


def _behind(delegate: Mapping[str, Any], operators: list[Any], producers: Mapping[int, int]) -> set[int]:
    """The operators that a delegate node stands for: those between its inputs and its outputs."""
    inputs = {int(index) for index in delegate["inputs"]}
    behind: set[int] = set()
    waiting = [int(index) for index in delegate["outputs"]]
    while waiting:
        index = waiting.pop()
        number = producers.get(index)
        if number is None or number in behind:
            continue
        behind.add(number)
        waiting += [int(each) for each in operators[number]["inputs"] if int(each) not in inputs]
    return behind


def _cut(content: bytes, signature: str) -> bytes:
    """A file with one signature alone: the interpreter shows the plan of the first subgraph only."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = copy.copy(parse_model(content))
    definition = next(each for each in model.signatureDefs if text_of(each.signatureKey) == signature)
    model.subgraphs = [model.subgraphs[definition.subgraphIndex]]
    definition.subgraphIndex = 0
    model.signatureDefs = [definition]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
