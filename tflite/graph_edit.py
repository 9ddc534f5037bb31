"""Changing a .tflite in the objects of its schema: new tensors, constants and operators in a subgraph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnexport.core.signature import Array

_LAST_OF_A_BYTE = 127  # stands for "see the new field", as codes were a byte once


class SubgraphEditor:
    """Makes what a subgraph is changed with; the caller puts the operators into their places.

    Args:
        model: The model, which gets the buffers and the codes of operators.
        subgraph: The subgraph, which gets the tensors.
    """

    def __init__(self, model: Any, subgraph: Any) -> None:
        from ai_edge_litert.tools.flatbuffer_utils import schema_fb

        self.schema, self._model, self._subgraph = schema_fb, model, subgraph

    def kind(self, operator: Any) -> str:
        """The name of an operator in capitals; empty for a custom one."""
        number = self._model.operatorCodes[operator.opcodeIndex].builtinCode
        kinds = vars(self.schema.BuiltinOperator)
        return next((name for name, value in kinds.items() if value == number and name.isupper()), "")

    def add_tensor(self, name: bytes, dtype: int, shape: Sequence[int], buffer: int = 0) -> int:
        """Add a tensor, and give its index; -1 in the shape is a free dimension."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, dtype, buffer
        tensor.shape = np.array([abs(size) for size in shape], np.int32)
        if -1 in shape:
            tensor.shapeSignature = np.array(shape, np.int32)
        self._subgraph.tensors.append(tensor)
        return len(self._subgraph.tensors) - 1

    def add_constant(self, name: bytes, values: Array) -> int:
        """Add a constant of float32 or int32, and give its index."""
        types = self.schema.TensorType
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        dtype = types.FLOAT32 if values.dtype == np.float32 else types.INT32
        return self.add_tensor(name, dtype, values.shape, len(self._model.buffers) - 1)

    def operator(self, kind: str, inputs: Sequence[int], output: int, options: Any = None, version: int = 1) -> Any:
        """An operator of one output."""
        made = self.schema.OperatorT()
        made.opcodeIndex = self._code(kind, version)
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__[:-1])
            made.builtinOptions = options
        return made

    def reshape(self, source: int, target: int, shape: Sequence[int]) -> Any:
        """A RESHAPE."""
        options = self.schema.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        return self.operator("RESHAPE", [source], target, options)

    def _code(self, kind: str, version: int) -> int:
        """The index of a kernel's code, which is added if there is none."""
        number = getattr(self.schema.BuiltinOperator, kind)
        for index, each in enumerate(self._model.operatorCodes):
            if each.builtinCode == number and each.version == version:
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, _LAST_OF_A_BYTE)
        code.version = version
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1


def shape_of(tensor: Any) -> list[int]:
    """A tensor's shape, -1 for free dimensions."""
    declared = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return [int(size) for size in (declared if declared is not None else ())]
