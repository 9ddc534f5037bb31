"""Tables of embeddings in a form whose rows kernels read as 4, 8 or 16 bits.

A Keras Embedding becomes GATHER, which has no form with small weights and float outputs. EMBEDDING_LOOKUP has: its
table has a scale for each row. It takes a list of row numbers, so there is a RESHAPE before and after it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .flatbuffer_check import text_of
from .graph import parse_model
from .graph_edit import SubgraphEditor, shape_of

_LEAST_DB = 35.0  # of a table with one scale; normally distributed numbers have 39
_PER_ROW_VERSION = 4  # of the operator: a scale for each row, and 4 bits


@dataclass(frozen=True)
class Lookups:
    """A model whose GATHERs were replaced.

    Attributes:
        model: The .tflite.
        replaced: The outputs of the new operators.
        one_scale: Those whose tables lose little by one scale for all rows, which takes a byte a row less than the
            twelve of a scale for each.
    """

    model: bytes
    replaced: tuple[str, ...] = ()
    one_scale: tuple[str, ...] = ()


def with_lookups(model: bytes, weights: Mapping[str, str]) -> Lookups:
    """Replace GATHERs that read whole rows of a constant table by EMBEDDING_LOOKUP.

    Args:
        model: A float32 .tflite.
        weights: The type that the table is going to have, by the name of a GATHER's output. The new operator's output
            has that name.

    Returns:
        A model that computes the same.
    """
    content = copy.copy(parse_model(model))
    replaced, one_scale = [], []
    for subgraph in content.subgraphs:
        operators: list[Any] = []
        for operator in subgraph.operators or ():
            name = text_of(subgraph.tensors[operator.outputs[0]].name)
            wanted = weights.get(name, "float32")
            lookup = _Lookup(content, subgraph, operator)
            if not lookup.can_have(wanted):
                operators.append(operator)
                continue
            replaced.append(name)
            if wanted == "int8" and lookup.can_have_one_scale(model):
                one_scale.append(name)
            operators += lookup.operators(wanted)
        subgraph.operators = operators
    if not replaced:
        return Lookups(model)
    from ai_edge_litert.tools import flatbuffer_utils

    changed = bytes(flatbuffer_utils.convert_object_to_bytearray(content))
    return Lookups(changed, tuple(replaced), tuple(one_scale))


def shaped(name: str) -> str:
    """The name that a replaced GATHER's own output gets."""
    return f"{name}/shaped"


class _Lookup:
    """A GATHER of a subgraph, in the objects of the schema."""

    def __init__(self, model: Any, subgraph: Any, gather: Any) -> None:
        self._editor = SubgraphEditor(model, subgraph)
        self._model, self._subgraph, self._gather = model, subgraph, gather

    def can_have(self, weights: str) -> bool:
        """Whether it reads whole rows of a table of floats that can have this type."""
        code, kinds = self._model.operatorCodes[self._gather.opcodeIndex], self._editor.schema.BuiltinOperator
        if weights == "float32" or code.builtinCode != kinds.GATHER:
            return False
        rows, table = self._tensor(1), self._tensor(0)
        buffer, options = self._model.buffers[table.buffer], self._gather.builtinOptions
        types = self._editor.schema.TensorType
        return (
            (options is None or (not options.axis and not options.batchDims))
            and bool(buffer.size or (buffer.data is not None and len(buffer.data)))
            and table.type == types.FLOAT32
            and len(table.shape) == 2
            # The kernel finds rows of 4 bits by whole bytes.
            and (weights != "int4" or table.shape[1] % 2 == 0)
            and rows.type in (types.INT32, types.INT64)
            and shape_of(self._subgraph.tensors[self._gather.outputs[0]]).count(-1) <= 1
        )

    def can_have_one_scale(self, content: bytes) -> bool:
        """Whether nothing else reads the table, and eight bits with one scale are near enough to it."""
        buffer = self._tensor(0).buffer
        sharing = [
            (number, at)
            for number, subgraph in enumerate(self._model.subgraphs)
            for at, tensor in enumerate(subgraph.tensors)
            if tensor.buffer == buffer
        ]
        readers = sum(
            at in (operator.inputs if operator.inputs is not None else ())
            for number, at in sharing
            for operator in self._model.subgraphs[number].operators or ()
        )
        if readers != 1:
            return False
        table = _values(self._model.buffers[buffer], content)
        scale = float(np.abs(table).max(initial=0.0)) / 127
        return scale > 0 and float(np.square(table).mean()) >= 10 ** (_LEAST_DB / 10) * scale**2 / 12

    def operators(self, weights: str) -> list[Any]:
        """The operators that do the same, and give its output."""
        types, at, output = self._editor.schema.TensorType, int(self._gather.inputs[1]), int(self._gather.outputs[0])
        shape, width = shape_of(self._subgraph.tensors[output]), int(self._tensor(0).shape[1])
        name, made = self._subgraph.tensors[output].name, []
        if self._tensor(1).type == types.INT64:
            cast = self._editor.schema.CastOptionsT()
            cast.inDataType, cast.outDataType = types.INT64, types.INT32
            narrow = self._editor.add_tensor(name + b"/cast", types.INT32, shape_of(self._tensor(1)))
            made.append(self._editor.operator("CAST", [at], narrow, cast))
            at = narrow
        count = -1 if -1 in shape else int(np.prod(shape, dtype=int)) // width
        rows = self._editor.add_tensor(name + b"/rows", types.INT32, [count])
        found = self._editor.add_tensor(name, types.FLOAT32, [count, width])
        self._subgraph.tensors[output].name = shaped(text_of(name)).encode()
        version = 1 if weights == "float16" else _PER_ROW_VERSION
        return [
            *made,
            self._editor.reshape(at, rows, [count]),
            self._editor.operator("EMBEDDING_LOOKUP", [rows, int(self._gather.inputs[0])], found, version=version),
            self._editor.reshape(found, output, shape),
        ]

    def _tensor(self, place: int) -> Any:
        return self._subgraph.tensors[self._gather.inputs[place]]


def _values(buffer: Any, content: bytes) -> np.ndarray[Any, Any]:
    """The floats of a buffer, which lies behind the flatbuffer if it is large."""
    if buffer.data is None:
        return np.frombuffer(content, np.float32, int(buffer.size) // 4, int(buffer.offset))
    return np.frombuffer(bytes(buffer.data), np.float32)
