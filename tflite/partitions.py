"""What the XNNPACK delegate makes of a .tflite."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from attnexport.core.child_process import Child
from attnexport.core.errors import ContentError, ModelError, first_line

from .graph import Graph, Operator, check_signature_names, parse_model, read_graph
from .subgraph_check import calls

_LOOPS_AND_BRANCHES = {"WHILE", "IF"}
_CONTROL_FLOW = {"CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"}


@dataclass(frozen=True)
class Delegation:
    """The part of a signature that the XNNPACK delegate takes.

    Attributes:
        partitions: Number of partitions it takes the operators in.
        taken: Number of operators it takes.
        left: Counts of the operators it leaves, apart from loops and branches.
        left_operators: Places of all that it leaves in the signature's order of execution.
        inside: What it takes of the body of each loop, and of each branch, by the name of the tensor that it gives.
    """

    partitions: int
    taken: int
    left: Mapping[str, int]
    left_operators: tuple[int, ...] = field(default=(), repr=False)
    inside: Mapping[str, Delegation] = field(default_factory=dict, repr=False)


def delegation(content: bytes, signature: str, graph: Graph | None = None) -> Delegation | None:
    """What the XNNPACK delegate takes of a signature; None if that is unknown: Flex operators, calls.

    The file is loaded in this process. `inspect_tflite` is for files that have not been run yet.

    Args:
        content: The file's bytes.
        signature: Name of the signature.
        graph: The file's contents, if they were read.

    Raises:
        ModelError: if the file does not load, or has no such signature.

    Example:
        >>> import tensorflow as tf
        >>> twice = tf.function(lambda x: {"y": x + x}, [tf.TensorSpec((1, 3), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=twice)
        >>> delegation(tf.lite.TFLiteConverter.from_saved_model("model").convert(), "serving_default")
        Delegation(partitions=1, taken=1, left={})
    """
    graph = read_graph(content) if graph is None else graph
    check_signature_names(graph, (signature,))
    number = graph.signatures[signature]
    return None if _obstacle(graph, number) else _plan(content, graph, number)


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
    number = 0 if signature is None else graph.signatures[signature]
    if reason := _obstacle(graph, number):
        return reason
    try:
        return _plan(content, graph, number)
    except ModelError as error:
        return str(error)


def _obstacle(graph: Graph, number: int) -> str | None:
    """Why the plan of a subgraph is unknown, as the operators show; None if it can be read."""
    operators = {each.name for at in (number, *graph.called(number)) for each in graph.subgraphs[at].operators}
    if flex := sorted(each for each in operators if each.startswith("Flex")):
        return f"it holds TensorFlow's own operators ({', '.join(flex)}), which no interpreter here can run"
    if flow := sorted(operators & _CONTROL_FLOW):
        return f"it holds control flow ({', '.join(flow)}), whose plans are not known"
    return None


def _plan(content: bytes, graph: Graph, number: int) -> Delegation:
    """The plan of a subgraph, and of what it runs in loops and branches."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        alone = content if number == 0 else _cut(content, graph, number)
        interpreter = Interpreter(model_content=alone, num_threads=1)
        interpreter.allocate_tensors()
        # Private, but the only way to see the plan; a test fails if it goes away.
        plan = interpreter._get_ops_details()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"the .tflite does not load: {first_line(error)}") from error
    delegates = [each for each in plan if each["op_name"] == "DELEGATE"]
    operators = [each for each in plan if each["op_name"] != "DELEGATE"]
    producers = {int(index): at for at, each in enumerate(operators) for index in each["outputs"]}
    taken: set[int] = set()
    for delegate in delegates:
        taken |= _behind(delegate, operators, producers)
    left = [at for at in range(len(operators)) if at not in taken]
    counts = Counter(name for at in left if (name := operators[at]["op_name"]) not in _LOOPS_AND_BRANCHES)
    subgraph = graph.subgraphs[number]
    inside = {
        subgraph.tensors[operator.outputs[0]].name + suffix: _plan(content, graph, called)
        for operator in subgraph.operators
        for suffix, called in _parts(operator)
    }
    return Delegation(len(delegates), len(taken), dict(counts), tuple(left), inside)


def _parts(operator: Operator) -> list[tuple[str, int]]:
    """The subgraphs of a loop or branch that compute something, each with what tells it from the others."""
    if operator.name == "WHILE":
        return [("", called) for called in operator.calls[1:]]  # the condition before it is a comparison
    return list(zip((" (then)", " (else)"), operator.calls, strict=True)) if operator.name == "IF" else []


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


def _cut(content: bytes, graph: Graph, number: int) -> bytes:
    """A file of one subgraph and those that it runs: the interpreter shows the plan of the first subgraph only."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = copy.copy(parse_model(content))
    kept = [number, *graph.called(number)]
    model.subgraphs = [model.subgraphs[each] for each in kept]
    for operator in (each for subgraph in model.subgraphs for each in subgraph.operators or ()):
        for options, field_name in calls(operator):
            setattr(options, field_name, kept.index(getattr(options, field_name)))
    model.signatureDefs = []
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
