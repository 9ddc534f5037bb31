"""Tables of embeddings in a form whose rows kernels read as 4, 8 or 16 bits.

A Keras Embedding becomes GATHER, which has no form with small weights and float outputs. EMBEDDING_LOOKUP has: its
table has a scale for each row. It takes a list of row numbers, so there is a RESHAPE before and after it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .flatbuffer_check import text_of
from .graph import parse_model

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
        from ai_edge_litert.tools.flatbuffer_utils import schema_fb

        self._schema, self._model, self._subgraph, self._gather = schema_fb, model, subgraph, gather

    def can_have(self, weights: str) -> bool:
        """Whether it reads whole rows of a table of floats that can have this type."""
        code, kinds = self._model.operatorCodes[self._gather.opcodeIndex], self._schema.BuiltinOperator
        if weights == "float32" or code.builtinCode != kinds.GATHER:
            return False
        rows, table = self._tensor(1), self._tensor(0)
        buffer, options, types = self._model.buffers[table.buffer], self._gather.builtinOptions, self._schema.TensorType
        return (
            (options is None or (not options.axis and not options.batchDims))
            and bool(buffer.size or (buffer.data is not None and len(buffer.data)))
            and table.type == types.FLOAT32
            and len(table.shape) == 2
            # The kernel finds rows of 4 bits by whole bytes.
            and (weights != "int4" or table.shape[1] % 2 == 0)
            and rows.type in (types.INT32, types.INT64)
            and _shape(self._subgraph.tensors[self._gather.outputs[0]]).count(-1) <= 1
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
        types, (at, output) = self._schema.TensorType, (int(self._gather.inputs[1]), int(self._gather.outputs[0]))
        shape, width = _shape(self._subgraph.tensors[output]), int(self._tensor(0).shape[1])
        name, made = self._subgraph.tensors[output].name, []
        if self._tensor(1).type == types.INT64:
            cast = self._schema.CastOptionsT()
            cast.inDataType, cast.outDataType = types.INT64, types.INT32
            narrow = self._add_tensor(name + b"/cast", types.INT32, _shape(self._tensor(1)))
            made.append(self._operator("CAST", [at], narrow, cast))
            at = narrow
        count = -1 if -1 in shape else int(np.prod(shape, dtype=int)) // width
        rows = self._add_tensor(name + b"/rows", types.INT32, [count])
        found = self._add_tensor(name, types.FLOAT32, [count, width])
        self._subgraph.tensors[output].name = shaped(text_of(name)).encode()
        version = 1 if weights == "float16" else _PER_ROW_VERSION
        return [
            *made,
            self._reshape(at, rows, [count]),
            self._operator("EMBEDDING_LOOKUP", [rows, int(self._gather.inputs[0])], found, version=version),
            self._reshape(found, output, shape),
        ]

    def _tensor(self, place: int) -> Any:
        return self._subgraph.tensors[self._gather.inputs[place]]

    def _add_tensor(self, name: bytes, dtype: int, shape: Sequence[int]) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, dtype, 0
        tensor.shape = np.array([abs(size) for size in shape], np.int32)
        if -1 in shape:
            tensor.shapeSignature = np.array(shape, np.int32)
        self._subgraph.tensors.append(tensor)
        return len(self._subgraph.tensors) - 1

    def _reshape(self, source: int, target: int, shape: Sequence[int]) -> Any:
        options = self._schema.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        return self._operator("RESHAPE", [source], target, options)

    def _operator(self, kind: str, inputs: list[int], output: int, options: Any = None, version: int = 1) -> Any:
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._code(kind, version)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, type(options).__name__[:-1])
            operator.builtinOptions = options
        return operator

    def _code(self, kind: str, version: int) -> int:
        """The index of a kernel's code, which is added if there is none."""
        number = getattr(self._schema.BuiltinOperator, kind)
        for index, each in enumerate(self._model.operatorCodes):
            if each.builtinCode == number and each.version == version:
                return index
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = version
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1


def _values(buffer: Any, content: bytes) -> np.ndarray[Any, Any]:
    """The floats of a buffer, which lies behind the flatbuffer if it is large."""
    if buffer.data is None:
        return np.frombuffer(content, np.float32, int(buffer.size) // 4, int(buffer.offset))
    return np.frombuffer(bytes(buffer.data), np.float32)


def _shape(tensor: Any) -> list[int]:
    """A tensor's shape, -1 for free dimensions."""
    declared = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return [int(size) for size in (declared if declared is not None else ())]
