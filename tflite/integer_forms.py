"""Operators without an integer kernel, written with others that have one.

Keras casts masks to floats (GlobalAveragePooling1D multiplies by one), and repeats the heads of grouped queries. CAST
and TILE have no integer form in litert-quantizer; a selection of 1 and 0, and a broadcast, compute the same and have.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .flatbuffer_check import text_of
from .graph import parse_model
from .graph_edit import SubgraphEditor, shape_of

_BROADCAST_VERSION = 3  # the first with integers of 8 bits


def with_integer_forms(model: bytes) -> bytes:
    """Write casts of booleans as selections, and repetitions of single rows as broadcasts.

    Args:
        model: A float32 .tflite. The new operators give the tensors that the old ones gave.

    Returns:
        A model that computes the same; the same bytes if there was nothing to write otherwise.
    """
    content, is_changed = parse_model(model), False
    for subgraph in content.subgraphs:
        editor, operators = SubgraphEditor(content, subgraph), []
        for operator in subgraph.operators or ():
            other = _selection(editor, subgraph, operator) or _broadcast(editor, subgraph, operator)
            is_changed = is_changed or other is not None
            operators.append(operator if other is None else other)
        subgraph.operators = operators
    if not is_changed:
        return model
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(content))


def _selection(editor: SubgraphEditor, subgraph: Any, operator: Any) -> Any:
    """A cast of booleans to floats as a selection; None for another operator."""
    types = editor.schema.TensorType
    if editor.kind(operator) != "CAST":
        return None
    mask, output = int(operator.inputs[0]), int(operator.outputs[0])
    if (subgraph.tensors[mask].type, subgraph.tensors[output].type) != (types.BOOL, types.FLOAT32):
        return None
    name = text_of(subgraph.tensors[output].name).encode()
    ones, zeros = (
        editor.add_constant(name + suffix, np.full((1,), value, np.float32))
        for suffix, value in ((b"/one", 1.0), (b"/zero", 0.0))
    )
    return editor.operator("SELECT_V2", [mask, ones, zeros], output, editor.schema.SelectV2OptionsT())


def _broadcast(editor: SubgraphEditor, subgraph: Any, operator: Any) -> Any:
    """A TILE of dimensions of one as a broadcast; None for another operator."""
    if editor.kind(operator) != "TILE":
        return None
    source, output = subgraph.tensors[operator.inputs[0]], subgraph.tensors[operator.outputs[0]]
    before, after = shape_of(source), shape_of(output)
    if source.type != editor.schema.TensorType.FLOAT32 or -1 in after or len(before) != len(after):
        return None
    if any(old not in (1, new) for old, new in zip(before, after, strict=True)):
        return None
    shape = editor.add_constant(text_of(output.name).encode() + b"/shape", np.array(after, np.int32))
    inputs = [int(operator.inputs[0]), shape]
    options = editor.schema.BroadcastToOptionsT()
    return editor.operator("BROADCAST_TO", inputs, int(operator.outputs[0]), options, _BROADCAST_VERSION)
