"""Shapes of reshapes that are known beforehand, written into a graph as constants.

`keras.layers.Dense` on `[n, steps, features]` calls `tf.tensordot`, which computes the shapes around its product at run
time if the batch is free: ten more operators for each layer, which take as long as all the products of a small model.
The numbers stay the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import tensorflow as tf

# Operators that compute shapes, removed if nothing uses them. All are stateless.
_SHAPE_OPERATORS = frozenset({
    "Cast", "ConcatV2", "Const", "GatherV2", "Identity", "Pack", "Prod", "Shape", "StridedSlice", "Transpose",
})  # fmt: skip

Sizes = list[int | None]  # the values of an integer tensor, None for each that is known only at run time


def simplify_reshapes(graph: Any) -> bool:
    """Make shapes of reshapes constant in functions with static shapes; return whether any changed."""
    changes = [_Function(each).simplify() for each in graph.library.function]
    return any(changes)


class _Function:
    """A FunctionDef, its nodes by name, and the static shapes of its tensors."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._nodes = {node.name: node for node in function.node_def}
        self._known: dict[str, Sizes | None] = {}
        self._shapes: dict[str, Sizes | None] = {
            argument.name: _static_shapes(function.arg_attr[index].attr)[0] if index in function.arg_attr else None
            for index, argument in enumerate(function.signature.input_arg)
        }

    def simplify(self) -> bool:
        changed = False
        for node in list(self._function.node_def):
            if node.op == "Reshape":
                changed |= self._make_constant(node)
                changed |= self._skip_identity(node)
        if changed:
            self._remove_unused()
        return changed

    def _make_constant(self, reshape: Any) -> bool:
        """Where at most one size is unknown, it follows from the others; where another is 0, it does not."""
        if self._node(reshape.input[1]).op == "Const":
            return False
        sizes = self._values(reshape.input[1])
        if sizes is None or sizes.count(None) > 1 or any(size is not None and size < 1 for size in sizes):
            return False
        constant = self._function.node_def.add(name=self._new_name(f"{reshape.name}/shape"), op="Const")
        dtype = tf.dtypes.as_dtype(reshape.attr["Tshape"].type) if "Tshape" in reshape.attr else tf.int32
        values = [-1 if size is None else size for size in sizes]
        constant.attr["dtype"].type = dtype.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values, dtype, [len(values)]))
        self._nodes[constant.name] = constant
        reshape.input[1] = f"{constant.name}:output:0"
        return True

    def _skip_identity(self, reshape: Any) -> bool:
        """Reshape what a transposition took that moves nothing."""
        transposition = self._node(reshape.input[0])
        if transposition is None or transposition.op != "Transpose":
            return False
        order = self._values(transposition.input[1])
        if order is None or order != list(range(len(order))):
            return False
        reshape.input[0] = transposition.input[0]
        return True

    def _remove_unused(self) -> None:
        removable = {node.name for node in self._function.node_def if node.op in _SHAPE_OPERATORS}
        while True:
            taken = (each for node in self._function.node_def for each in node.input)
            given = (*self._function.ret.values(), *self._function.control_ret.values())
            used = {each.lstrip("^").partition(":")[0] for each in (*taken, *given)}
            if not removable - used:
                return
            kept = [node for node in self._function.node_def if node.name in used or node.name not in removable]
            removable &= used
            copies = [type(node).FromString(node.SerializeToString()) for node in kept]
            del self._function.node_def[:]
            self._function.node_def.extend(copies)

    def _node(self, tensor: str) -> Any:
        """The node that gives a tensor, None for an argument."""
        return self._nodes.get(tensor.partition(":")[0])

    def _shape(self, tensor: str) -> Sizes | None:
        node = self._node(tensor)
        if node is None:
            return self._shapes.get(tensor)
        index = int(tensor.rpartition(":")[2])
        shapes = _static_shapes(node.attr)
        return shapes[index] if index < len(shapes) and len(shapes) == 1 else None

    def _values(self, tensor: str) -> Sizes | None:
        """What is known of the values of an integer vector or scalar; None if nothing is."""
        if tensor not in self._known:
            self._known[tensor] = None  # a graph has no cycles, so this is only seen by what is unknown
            node = self._node(tensor)
            self._known[tensor] = None if node is None else self._evaluate(node)
        return self._known[tensor]

    def _evaluate(self, node: Any) -> Sizes | None:
        inputs = [each for each in node.input if not each.startswith("^")]
        if node.op == "Const":
            return _constant(node.attr["value"].tensor)
        if node.op == "Shape":
            return self._shape(inputs[0])
        if node.op not in _EVALUATED:
            return None
        values = [self._values(each) for each in inputs]
        if any(each is None for each in values):
            return None
        return _EVALUATED[node.op](node.attr, [each for each in values if each is not None])

    def _new_name(self, name: str) -> str:
        while name in self._nodes:
            name += "_"
        return name


def _static_shapes(attributes: Mapping[str, Any]) -> list[Sizes | None]:
    if "_output_shapes" not in attributes:
        return [None]
    shapes = attributes["_output_shapes"].list.shape
    return [
        None if each.unknown_rank else [None if size.size < 0 else size.size for size in each.dim] for each in shapes
    ] or [None]


def _constant(tensor: Any) -> Sizes | None:
    dtype = tf.dtypes.as_dtype(tensor.dtype)
    if not dtype.is_integer or len(tensor.tensor_shape.dim) > 1:
        return None
    return [int(each) for each in tf.make_ndarray(tensor).reshape(-1)]


def _gather(attributes: Any, inputs: Sequence[Sizes]) -> Sizes | None:
    values, places, axis = inputs
    if axis != [0] or not all(each is not None and 0 <= each < len(values) for each in places):
        return None
    return [values[each] for each in places if each is not None]


def _product(attributes: Any, inputs: Sequence[Sizes]) -> Sizes | None:
    values, axes = inputs
    return [None if None in values else prod(_whole(values))] if axes == [0] else None


def _pack(attributes: Any, inputs: Sequence[Sizes]) -> Sizes | None:
    return None if any(len(each) != 1 for each in inputs) else [each for one in inputs for each in one]


def _concatenate(attributes: Any, inputs: Sequence[Sizes]) -> Sizes | None:
    return [each for part in inputs[:-1] for each in part] if inputs[-1] == [0] else None


def _slice(attributes: Any, inputs: Sequence[Sizes]) -> Sizes | None:
    values, *bounds = inputs
    masks = {key: attributes[key].i for key in attributes if key.endswith("_mask")}  # zeros are left out
    if masks.get("ellipsis_mask") or masks.get("new_axis_mask") or any(len(each) != 1 for each in bounds):
        return None
    begin, end, step = (each[0] for each in bounds)
    if masks.get("shrink_axis_mask"):
        return None if begin is None or not -len(values) <= begin < len(values) else [values[begin]]
    if step is None or step == 0:
        return None
    if (begin is None and not masks.get("begin_mask")) or (end is None and not masks.get("end_mask")):
        return None
    return values[None if masks.get("begin_mask") else begin : None if masks.get("end_mask") else end : step]


def _same(attributes: Any, inputs: Sequence[Sizes]) -> Sizes | None:
    return inputs[0]


_EVALUATED = {
    "ConcatV2": _concatenate,
    "GatherV2": _gather,
    "Identity": _same,
    "Pack": _pack,
    "Prod": _product,
    "StridedSlice": _slice,
}


def _whole(values: Iterable[int | None]) -> list[int]:
    return [each for each in values if each is not None]
