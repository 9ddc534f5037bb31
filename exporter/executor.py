"""Which of TensorFlow's executors runs a graph: the usual one, or a plain one that small graphs run faster in."""

from __future__ import annotations

from typing import Any

from tensorflow.python.framework import op_def_registry

from .programs import operators_of

USUAL_EXECUTOR, PLAIN_EXECUTOR = "DEFAULT", "SINGLE_THREADED_EXECUTOR"  # ConfigProto.experimental.executor_type

_LARGEST_GRAPH = 20_000  # nodes; in longer calls the executor's share of the time is negligible
# The plain executor has no frames, so it takes no loops and branches of TF 1. Those of TF 2 are functions.
_CONTROL_FLOW = {
    f"{prefix}{name}"
    for prefix in ("", "Ref")
    for name in ("Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond")
}
# What has a state and never waits for another operator, as a queue does.
_NEVER_WAITS = {
    "Assert", "AssignVariableOp", "Case", "DisableCopyOnRead", "HashTableV2", "If", "InitializeTableFromTextFileV2",
    "InitializeTableV2", "LookupTableExportV2", "LookupTableFindV2", "LookupTableImportV2", "LookupTableSizeV2",
    "MergeV2Checkpoints", "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "RestoreV2", "SaveV2",
    "StatefulPartitionedCall", "VarHandleOp", "VarIsInitializedOp", "While",
}  # fmt: skip


def executor_for(saved_model: Any) -> str:
    """The executor for a SavedModel message: the plain one if nothing in its graph can deadlock it.

    The plain executor runs one operator after the other in one thread, so an operator that waits for another one (a
    queue, a staging area, a collective) would wait forever. Stateless operators are safe; of the stateful ones, only
    those listed here.
    """
    if saved_model is None:  # it cannot be parsed; loading says what is wrong
        return USUAL_EXECUTOR
    operators = [name for meta_graph in saved_model.meta_graphs for name in operators_of(meta_graph.graph_def)]
    return (
        PLAIN_EXECUTOR if len(operators) <= _LARGEST_GRAPH and all(map(_is_plain, set(operators))) else USUAL_EXECUTOR
    )


def _is_plain(operator: str) -> bool:
    definition = op_def_registry.get(operator)
    if definition is None or operator in _CONTROL_FLOW:
        return False
    return operator in _NEVER_WAITS or not definition.is_stateful
