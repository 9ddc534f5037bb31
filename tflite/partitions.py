"""What the XNNPACK delegate makes of a .tflite.

    python -m attnexport.tflite.partitions < FILE

prints it as one JSON document, in a process of its own: a damaged file may take down the one that loads it.
"""

from __future__ import annotations

import copy
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from attnexport.core.errors import AttnexportError, ModelError, first_line

from .flatbuffer_check import text_of
from .graph import Graph, Subgraph, check_signature_names, parse_model, read_graph
from .probe import run_child

_CONTROL_FLOW = {"WHILE", "IF", "CALL_ONCE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"}
_FAILED = 3


@dataclass(frozen=True)
class Delegation:
    """What the XNNPACK delegate took of a signature: how many operators, in how many partitions, and what it left."""

    partitions: int
    taken: int
    left: Mapping[str, int]


def delegation(content: bytes, signature: str) -> Delegation | None:
    """What the XNNPACK delegate takes of a signature, None where it cannot be told: control flow, or Flex operators.

    The file is loaded in this process; `delegations` is for those that nobody has run yet.

    Raises:
        ModelError: where the file does not load, or has no such signature.
    """
    graph = read_graph(content)
    check_signature_names(graph, (signature,))
    return None if _obstacle(_subgraph(graph, signature)) else _plan(content, graph, signature)


def delegations(content: bytes) -> list[Delegation | str]:
    """Of each signature what the XNNPACK delegate takes, or in words why that cannot be told.

    They are in the order of the graph's; of a file without signatures it is the first subgraph. The file is loaded in
    a process of its own.

    Raises:
        ModelError: where that process crashes.
    """
    ended = run_child("attnexport.tflite.partitions", running="the interpreter", given=content)
    if ended.problem is not None:
        raise ModelError(f"the .tflite cannot be looked into: {ended.problem}; make it again from its model")
    found = json.loads(ended.said.splitlines()[-1])
    return [each if isinstance(each, str) else Delegation(**each) for each in found]


def main() -> int:
    """The child's side of `delegations`."""
    content = sys.stdin.buffer.read()
    try:
        graph = read_graph(content)
        told = [_told(content, graph, each) for each in graph.signatures or (None,)]
    except (AttnexportError, MemoryError) as error:
        sys.stderr.write(first_line(error, limit=1000))
        return _FAILED
    sys.stdout.write(f"\n{json.dumps(told)}\n")
    return 0


def _told(content: bytes, graph: Graph, signature: str | None) -> dict[str, Any] | str:
    if reason := _obstacle(_subgraph(graph, signature)):
        return reason
    try:
        return asdict(_plan(content, graph, signature))
    except ModelError as error:
        return str(error)


def _obstacle(subgraph: Subgraph) -> str | None:
    """Why it cannot be told before anything is loaded, None where it can."""
    operators = {each.name for each in subgraph.operators}
    if flex := sorted(each for each in operators if each.startswith("Flex")):
        return f"it holds TensorFlow's own operators ({', '.join(flex)}), which no interpreter here can run"
    if flow := sorted(operators & _CONTROL_FLOW):
        return f"it holds control flow ({', '.join(flow)}), whose parts have plans of their own"
    return None


def _plan(content: bytes, graph: Graph, signature: str | None) -> Delegation:
    from ai_edge_litert.interpreter import Interpreter

    try:
        alone = content if signature is None or len(graph.subgraphs) == 1 else _cut(content, signature)
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


def _subgraph(graph: Graph, signature: str | None) -> Subgraph:
    return graph.subgraphs[0 if signature is None else graph.signatures[signature]]


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
    definition = next(each for each in model.signatureDefs if text_of(each.signatureKey) == signature)
    model.subgraphs = [model.subgraphs[definition.subgraphIndex]]
    definition.subgraphIndex = 0
    model.signatureDefs = [definition]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


if __name__ == "__main__":
    sys.exit(main())
