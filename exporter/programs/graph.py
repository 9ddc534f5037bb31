"""A MetaGraphDef as scopes of nodes: the graph and the functions of its library, and who calls whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from attnexport.core.errors import ModelError

_INIT_OP, _MAIN_OP, _LEGACY_INIT_OP = "__saved_model_init_op", "saved_model_main_op", "legacy_init_op"
_MAX_DEPTH = 100


class MetaGraphs:
    """The graphs of a SavedModel by their tags."""

    def __init__(self, saved_model: Any) -> None:
        self._saved_model = saved_model

    def find(self, tags: Iterable[str]) -> Any:
        """The MetaGraphDef with exactly these tags, None if there is none; the first, as TensorFlow's loader takes."""
        wanted = set(tags)
        return next((each for each in self._saved_model.meta_graphs if set(each.meta_info_def.tags) == wanted), None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._saved_model.meta_graphs)


@dataclass(frozen=True)
class Call:
    """A node that calls a function: where it is, and what it hands over."""

    scope: Scope
    node: Any
    function: str


@dataclass(frozen=True)
class Scope:
    """The nodes of the graph, or of one function.

    Attributes:
        name: The function's name, empty for the graph.
        nodes: The nodes by their names.
        arguments: The function's arguments by name, with their position; none for the graph.
    """

    name: str
    nodes: Mapping[str, Any] = field(repr=False)
    arguments: Mapping[str, int] = field(repr=False, default_factory=dict)

    def inputs(self, node: Any) -> list[str]:
        """The inputs of a node without its control inputs."""
        return [each for each in node.input if not each.startswith("^")]


class Program:
    """A MetaGraphDef, as far as its safety depends on it.

    Args:
        meta_graph: The message.

    Raises:
        ModelError: if two nodes of a scope have one name, or two functions.
    """

    def __init__(self, meta_graph: Any) -> None:
        self.meta_graph = meta_graph
        graph = meta_graph.graph_def
        self.graph = Scope("", _by_name(graph.node))
        self.functions = {
            name: Scope(
                name,
                _by_name(function.node_def),
                {each.name: at for at, each in enumerate(function.signature.input_arg)},
            )
            for name, function in _by_name(graph.library.function, lambda each: each.signature.name).items()
        }

    @property
    def scopes(self) -> Iterator[Scope]:
        """The graph and every function."""
        yield self.graph
        yield from self.functions.values()

    @cached_property
    def calls(self) -> Mapping[str, list[Call]]:
        """The calls of each function."""
        found: dict[str, list[Call]] = defaultdict(list)
        for scope in self.scopes:
            for node in scope.nodes.values():
                for name in self.called(node):
                    found[name].append(Call(scope, node, name))
        return found

    def called(self, node: Any) -> Iterator[str]:
        """The functions that a node calls: by its operator, or by an attribute, at any depth of attributes."""
        if node.op in self.functions:
            yield node.op
        pending = [(node.attr, 0)]
        while pending:
            attributes, depth = pending.pop()
            for value in attributes.values():
                for function in (value.func, *value.list.func):
                    if function.name:
                        yield function.name
                        if depth < _MAX_DEPTH:
                            pending.append((function.attr, depth + 1))

    @cached_property
    def assets(self) -> Mapping[str, str]:
        """File names of the assets by the name of the node that is fed their path, without the directory."""
        definitions = list(self.meta_graph.asset_file_def)
        if not definitions and "saved_model_assets" in self.meta_graph.collection_def:
            for each in self.meta_graph.collection_def["saved_model_assets"].any_list.value:
                from tensorflow.core.protobuf import meta_graph_pb2

                definition = meta_graph_pb2.AssetFileDef()
                if each.Unpack(definition):
                    definitions.append(definition)
        return {node_of(each.tensor_info.name): each.filename for each in definitions}

    @cached_property
    def initializers(self) -> frozenset[str]:
        """The nodes that the loader runs beside restoring variables."""
        names = (
            [output.name for output in self.meta_graph.signature_def[_INIT_OP].outputs.values()]
            if (_INIT_OP in self.meta_graph.signature_def)
            else []
        )
        for key in (_MAIN_OP, _LEGACY_INIT_OP):
            if key in self.meta_graph.collection_def:
                names += self.meta_graph.collection_def[key].node_list.value
        return frozenset(map(node_of, names))

    @cached_property
    def endpoints(self) -> frozenset[str]:
        """The nodes that a call of a signature feeds or fetches; nothing else is ever run."""
        names: list[str] = []
        for key, signature in self.meta_graph.signature_def.items():
            if key != _INIT_OP:
                for info in (*signature.inputs.values(), *signature.outputs.values()):
                    names += _tensor_names(info)
        return frozenset(map(node_of, names))

    @cached_property
    def object_functions(self) -> frozenset[str]:
        """The functions that TensorFlow's eager loader makes callable, some of which it calls."""
        objects = self.meta_graph.object_graph_def
        names = set(objects.concrete_functions)
        for node in objects.nodes:
            names.update(node.function.concrete_functions)
            names.add(node.bare_concrete_function.concrete_function_name)
        return frozenset(names & self.functions.keys())

    def reached(self, roots: Iterable[str]) -> frozenset[str]:
        """The nodes of the graph that running these nodes runs."""
        seen: set[str] = set()
        pending = [name for name in roots if name in self.graph.nodes]
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                inputs = (node_of(each) for each in self.graph.nodes[name].input)
                pending += [each for each in inputs if each in self.graph.nodes and each not in seen]
        return frozenset(seen)

    def functions_of(self, nodes: Iterable[str], functions: Iterable[str] = ()) -> frozenset[str]:
        """These functions, those that these nodes of the graph call, and all that they call in turn."""
        seen: set[str] = set()
        pending = [*functions, *(each for name in nodes for each in self.called(self.graph.nodes[name]))]
        while pending:
            name = pending.pop()
            if name in self.functions and name not in seen:
                seen.add(name)
                for node in self.functions[name].nodes.values():
                    pending += self.called(node)
        return frozenset(seen)


def operators_of(graph: Any) -> Iterator[str]:
    """The operator of each node of a GraphDef and of its functions."""
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        yield from (node.op for node in nodes)


def node_of(tensor: str) -> str:
    """The name of the node that a tensor or a control input names."""
    return tensor.removeprefix("^").partition(":")[0]


def _tensor_names(info: Any) -> list[str]:
    """The tensors of a TensorInfo, in all its encodings."""
    coo = info.coo_sparse
    names = [info.name, coo.values_tensor_name, coo.indices_tensor_name, coo.dense_shape_tensor_name]
    names += [each.name for each in info.composite_tensor.components]
    return [each for each in names if each]


def _by_name(items: Iterable[Any], name_of: Any = lambda each: each.name) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in items:
        name = name_of(each)
        if name in found:
            raise ModelError(f"two parts of its graph are called {name!r}")
        found[name] = each
    return found
