"""SavedModels as messages made by hand, as nobody's exporter makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2


def node(name: str, operator: str, *inputs: str, **attributes: Any) -> Any:
    made = node_def_pb2.NodeDef(name=name, op=operator, input=inputs)
    for key, value in attributes.items():
        if isinstance(value, tf.DType):
            made.attr[key].type = value.as_datatype_enum
        elif isinstance(value, bytes):
            made.attr[key].s = value
        elif isinstance(value, str):
            made.attr[key].func.name = value
        else:
            made.attr[key].tensor.CopyFrom(tf.make_tensor_proto(value))
    return made


def text(name: str, value: str) -> Any:
    return node(name, "Const", value=value, dtype=tf.string)


def function(name: str, *nodes: Any, arguments: Sequence[str] = ()) -> Any:
    made = function_pb2.FunctionDef(node_def=nodes)
    made.signature.name = name
    for each in arguments:
        made.signature.input_arg.add(name=each)
    return made


X_Y = (node("x", "Placeholder", dtype=tf.float32), node("y", "Identity", "x", T=tf.float32))
SAVER = (
    text("prefix", "model"),
    node("save", "SaveV2", "prefix", "names", "slices"),
    node("read", "RestoreV2", "prefix", "names", "slices"),
    node("restore", "NoOp", "^read"),
    text("names", "v"),
    text("slices", ""),
)


def program(
    *nodes: Any,
    functions: Sequence[Any] = (),
    main: str = "",
    output: str = "y",
    assets: Mapping[str, str] | None = None,
) -> Any:
    """A SavedModel of x -> y with more nodes, all in one message."""
    message = saved_model_pb2.SavedModel()
    meta_graph = message.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    given = {each.name for each in nodes}
    meta_graph.graph_def.node.extend([*nodes, *(each for each in (*X_Y, *SAVER) if each.name not in given)])
    meta_graph.graph_def.library.function.extend(functions)
    saver = meta_graph.saver_def
    saver.filename_tensor_name, saver.save_tensor_name, saver.restore_op_name = "prefix:0", "save:0", "restore"
    signature = meta_graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for infos, name in ((signature.inputs, "x"), (signature.outputs, output)):
        infos[name].name, infos[name].dtype = f"{name}:0", 1
    if main:
        meta_graph.collection_def["saved_model_main_op"].node_list.value.append(main)
    for tensor, name in (assets or {}).items():
        definition = meta_graph.asset_file_def.add(filename=name)
        definition.tensor_info.name = f"{tensor}:0"
    return message


TABLE = node("table", "HashTableV2")


def fill(name: str, filename: str) -> Any:
    return node(name, "InitializeTableFromTextFileV2", "table", filename)
