"""Operators that TFLite has no kernel for, written with others that give the same bits.

`keras.ops.argmax` and `argmin` tell -0.0 from 0.0 by the sign bit, which they read with BitwiseAnd: `bits & int32.min`
is negative where `bits` is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

_GRAPH = "saved_model.pb"


@contextmanager
def convertible(saved_model: Path) -> Iterator[Path]:
    """A SavedModel with the same variables, and a graph of operators that TFLite has, as far as can be told.

    The SavedModel itself is not changed; its own path is given if there is nothing to write otherwise.
    """
    content = (saved_model / _GRAPH).read_bytes()
    if b"BitwiseAnd" not in content:
        yield saved_model
        return
    message = saved_model_pb2.SavedModel.FromString(content)
    changes = [
        _read_signs(nodes)
        for meta_graph in message.meta_graphs
        for nodes in (meta_graph.graph_def.node, *(each.node_def for each in meta_graph.graph_def.library.function))
    ]
    if not any(changes):
        yield saved_model
        return
    with tempfile.TemporaryDirectory() as directory:
        for each in saved_model.iterdir():
            if each.name not in (_GRAPH, "fingerprint.pb"):
                os.symlink(each.absolute(), Path(directory) / each.name)
        (Path(directory) / _GRAPH).write_bytes(message.SerializeToString())
        yield Path(directory)


def _read_signs(nodes: Any) -> bool:
    """Ask bits themselves for their sign where a node takes it from them before; return whether any was changed."""
    by_name = {node.name: node for node in nodes}
    users: dict[str, list[Any]] = {}
    for node in nodes:
        for tensor in node.input:
            users.setdefault(_name(tensor), []).append(node)
    removed = []
    for index, node in enumerate(nodes):
        asking = users.get(node.name, [])
        if node.op != "BitwiseAnd" or not asking or not all(_asks_sign(user, node, by_name) for user in asking):
            continue
        bits = [each for each in node.input if _constant(each, by_name) != np.iinfo(np.int32).min]
        if len(bits) == 1:
            for user in asking:
                user.input[0] = bits[0]
            removed.append(index)
    for index in reversed(removed):
        del nodes[index]
    return bool(removed)


def _asks_sign(user: Any, node: Any, by_name: dict[str, Any]) -> bool:
    """Whether a node asks of another one whether it is negative, and nothing else."""
    is_less = user.op == "Less" and _name(user.input[0]) == node.name
    return is_less and _constant(user.input[1], by_name) == 0


def _constant(tensor: str, by_name: dict[str, Any]) -> int | None:
    """The value of a constant scalar of int32; None for anything else."""
    node = by_name.get(_name(tensor))
    if node is None or node.op != "Const" or node.attr["dtype"].type != tf.int32.as_datatype_enum:
        return None
    value = tf.make_ndarray(node.attr["value"].tensor)
    return int(value) if value.size == 1 else None


def _name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
