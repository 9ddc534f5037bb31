"""Checks of how the subgraphs of a .tflite compute: in order, and without calling themselves."""

from __future__ import annotations

from typing import Any

# Fields of an operator's options that are numbers of subgraphs.
_CALLED = (
    "subgraph",
    "condSubgraphIndex",
    "bodySubgraphIndex",
    "thenSubgraphIndex",
    "elseSubgraphIndex",
    "initSubgraphIndex",
    "decompositionSubgraphIndex",
)


def check_order(place: str, subgraph: Any, buffers: Any, names: list[str]) -> None:
    """Check that operators read only what there is by then: the interpreter runs them in the order of the file.

    Args:
        place: How a message calls the subgraph.
        subgraph: The subgraph; its indices are in range.
        buffers: The model's buffers.
        names: The operators' names by code.

    Raises:
        ValueError: naming the operator and the tensor.
    """
    known = {int(index) for index in (subgraph.inputs if subgraph.inputs is not None else ())}
    for index, tensor in enumerate(subgraph.tensors):
        buffer = buffers[tensor.buffer]
        has_data = (buffer.data is not None and len(buffer.data) > 0) or bool(buffer.size)
        is_empty = tensor.shape is not None and 0 in tensor.shape
        if has_data or is_empty or tensor.isVariable:
            known.add(index)
    for operator in subgraph.operators or ():
        name = names[operator.opcodeIndex]
        for index in operator.inputs if operator.inputs is not None else ():
            if index >= 0 and int(index) not in known and name != "CUSTOM":
                raise ValueError(f"{place}: {name} reads tensor {index}, which nothing computed before")
        known.update(int(index) for index in (operator.outputs if operator.outputs is not None else ()))


def check_calls(model: Any) -> None:
    """Check that subgraphs call others that there are, and none of them itself, however indirectly.

    Raises:
        ValueError: naming the subgraph.
    """
    count = len(model.subgraphs)
    called = [_called(subgraph) for subgraph in model.subgraphs]
    for number, targets in enumerate(called):
        for target in targets:
            if not 0 <= target < count:
                raise ValueError(f"subgraph {number} calls subgraph {target}, of {count} there are")
    # Those whose calls all end are taken away, until only cycles are left.
    left = set(range(count))
    while ended := {number for number in left if not called[number] & left}:
        left -= ended
    if left:
        raise ValueError(f"subgraph {min(left)} calls itself, directly or through others, so it never ends")


def calls(operator: Any) -> list[tuple[Any, str]]:
    """The numbers of the subgraphs that an operator runs: the options that hold each, and its field there."""
    every = (operator.builtinOptions, getattr(operator, "builtinOptions2", None))
    return [(options, field) for options in every for field in _CALLED if hasattr(options, field)]


def _called(subgraph: Any) -> set[int]:
    return {int(getattr(*call)) for operator in subgraph.operators or () for call in calls(operator)}
