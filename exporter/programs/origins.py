"""Where the name of a file comes from that an operator of a SavedModel opens."""

from __future__ import annotations

from collections.abc import Callable

from .graph import Program, Scope, node_of

_MAX_STEPS = 1000
_PASSES_ON = ("Identity", "StopGradient", "PreventGradient", "EnsureShape", "Reshape", "Squeeze", "ExpandDims")


class Origins:
    """Follows the name of a file backwards through a program; what it does not understand is from somewhere else.

    Args:
        program: The program.
        is_given: Whether a node of the graph is fed the name by the loader.
    """

    def __init__(self, program: Program, is_given: Callable[[str], bool]) -> None:
        self._program, self._is_given = program, is_given
        self._steps = 0

    def is_from_loader(self, scope: Scope, tensor: str) -> bool:
        """Whether a tensor can only hold what the loader feeds.

        Args:
            scope: Where the tensor is: the graph, or a function of its library.
            tensor: As a node names its input.
        """
        self._steps = 0
        return self._follow(scope, tensor)

    def _follow(self, scope: Scope, tensor: str) -> bool:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            return False
        name = node_of(tensor)
        if name in scope.arguments:
            return self._from_callers(scope, scope.arguments[name])
        node = scope.nodes.get(name)
        if node is None:
            return False
        if not scope.name and self._is_given(name):
            return True
        inputs = scope.inputs(node)
        if not inputs:
            return False
        if node.op in _PASSES_ON or (node.op == "PlaceholderWithDefault" and not scope.name):
            return self._follow(scope, inputs[0])
        return node.op == "ReadVariableOp" and not scope.name and self._is_path_variable(inputs[0])

    def _from_callers(self, scope: Scope, position: int) -> bool:
        """Whether every caller, and the eager loader, hands over the loader's name as this argument."""
        calls = self._program.calls.get(scope.name, [])
        for call in calls:
            inputs = call.scope.inputs(call.node)
            # An operator such as If takes more inputs than its function; only plain calls are followed.
            if len(inputs) != len(scope.arguments) or not self._follow(call.scope, inputs[position]):
                return False
        return self._is_bound_to_asset(scope, position) and bool(calls)

    def _is_bound_to_asset(self, scope: Scope, position: int) -> bool:
        """Whether the eager loader passes an asset, if the function is one that it calls."""
        objects = self._program.meta_graph.object_graph_def
        if scope.name not in objects.concrete_functions:
            return True
        captured = objects.concrete_functions[scope.name].bound_inputs
        at = position - (len(scope.arguments) - len(captured))
        return (
            0 <= at < len(captured)
            and 0 <= captured[at] < len(objects.nodes)
            and (objects.nodes[captured[at]].WhichOneof("kind") == "asset")
        )

    def _is_path_variable(self, handle: str) -> bool:
        """Whether a variable of the graph is one that only the loader's name is assigned to."""
        nodes = self._program.graph.nodes
        variable = nodes.get(node_of(handle))
        if variable is None or variable.op != "VarHandleOp":
            return False
        key = _variable_key(variable)
        same = [
            node
            for scope in self._program.scopes
            for node in scope.nodes.values()
            if node.op in ("VarHandleOp", "_VarHandlesOp") and _variable_key(node) == key
        ]
        return len(same) == 1 and all(
            self._uses_properly(node, variable.name)
            for node in nodes.values()
            if any(node_of(each) == variable.name for each in node.input)
        )

    def _uses_properly(self, node: object, variable: str) -> bool:
        operator, inputs = node.op, self._program.graph.inputs(node)  # type: ignore[attr-defined]
        if operator in ("ReadVariableOp", "VarIsInitializedOp", "DestroyResourceOp", "DisableCopyOnRead"):
            return True
        return (
            operator == "AssignVariableOp"
            and len(inputs) == 2
            and node_of(inputs[0]) == variable
            and node_of(inputs[1]) != variable
            and self._follow(self._program.graph, inputs[1])
        )


def _variable_key(node: object) -> tuple[bytes, bytes]:
    """What the session knows a variable by: two nodes of one key are one variable."""
    attributes = node.attr  # type: ignore[attr-defined]
    shared = attributes["shared_name"].s if "shared_name" in attributes else b""
    container = attributes["container"].s if "container" in attributes else b""
    return container, shared or node.name.encode()  # type: ignore[attr-defined]
