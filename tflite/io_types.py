"""Integer inputs and outputs beside operators that stay float.

The quantizer gives an integer type to an input or output whose operator is integer. Where it stays float, a softmax at
the end above all, the values are converted at the edge: as TFLiteConverter does it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from .flatbuffer_check import text_of
from .graph import parse_model

Ranges = Mapping[str, tuple[float, float]]

_BITS = {"int8": 8, "uint8": 8, "int16": 16}
# Between 0 and 1, whatever the samples: TFLiteConverter's scale, and every value of the type is used.
_SHARES = {"SOFTMAX", "LOGISTIC"}


def with_integer_io(content: bytes, io_type: str, ranges: Ranges) -> bytes:
    """A .tflite whose float inputs and outputs are converted from and to integers at its edges.

    Args:
        content: A quantized .tflite; inputs and outputs that have an integer type already keep it.
        io_type: `int8`, `uint8` or `int16`.
        ranges: The range of each input and output, by tensor name.

    Returns:
        The file, the same one if no input or output is float.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = copy.deepcopy(parse_model(content))
    edges = _Edges(model, io_type, ranges)
    changed = [edges.convert(number) for number in range(len(model.subgraphs))]
    if not any(changed):
        return content
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def with_outputs_of_signatures(content: bytes) -> bytes:
    """A quantized .tflite whose signatures give the tensors that the file gives.

    Where an output is converted to float and another operator takes the same floats, litert-quantizer leaves the
    signature with the integers, which the delegate does not even compute.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = parse_model(content)
    is_right = all(
        output.tensorIndex in model.subgraphs[signature.subgraphIndex].outputs
        for signature in model.signatureDefs or ()
        for output in signature.outputs or ()
    )
    if is_right:
        return content
    model = copy.deepcopy(model)
    for signature in model.signatureDefs:
        subgraph = model.subgraphs[signature.subgraphIndex]
        given = {text_of(subgraph.tensors[index].name): int(index) for index in subgraph.outputs}
        for output in signature.outputs:
            name = text_of(subgraph.tensors[output.tensorIndex].name)
            output.tensorIndex = given.get(f"{name}_dequant", output.tensorIndex)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


class _Edges:
    """The inputs and outputs of a model's signatures, in the objects of the schema."""

    def __init__(self, model: Any, io_type: str, ranges: Ranges) -> None:
        from ai_edge_litert.tools.flatbuffer_utils import schema_fb

        self._schema, self._model, self._type, self._ranges = schema_fb, model, io_type, ranges

    def convert(self, number: int) -> bool:
        """Convert the float inputs and outputs of a subgraph, if it is a signature's; true if there were any."""
        signatures = [each for each in self._model.signatureDefs or () if each.subgraphIndex == number]
        if not signatures:
            return False
        subgraph, changed = self._model.subgraphs[number], False
        makers = {int(index): each for each in subgraph.operators or () for index in each.outputs}
        for side, kind in (("inputs", "DEQUANTIZE"), ("outputs", "QUANTIZE")):
            indices = [int(each) for each in getattr(subgraph, side)]
            for place, index in enumerate(indices):
                maker = makers.get(index)
                # An input that is an output as well is handed out after it was converted for the operators.
                converted = "DEQUANTIZE" if self._is_float(subgraph.tensors[index]) else "QUANTIZE"
                source = int(maker.inputs[0]) if maker is not None and self._kind(maker) == converted else index
                if not self._is_float(subgraph.tensors[index]) and (source == index or source not in subgraph.inputs):
                    continue
                if subgraph.tensors[source].type == getattr(self._schema.TensorType, self._type.upper()):
                    added = source  # the integers that these floats were made of
                else:
                    added = self._added(subgraph, index, text_of(subgraph.tensors[source].name), maker)
                    inserted = self._operator(kind, *((index, added) if kind == "QUANTIZE" else (added, index)))
                    subgraph.operators.insert(len(subgraph.operators) if kind == "QUANTIZE" else 0, inserted)
                indices[place], changed = added, True
                for signature in signatures:
                    for each in getattr(signature, side):
                        each.tensorIndex = added if each.tensorIndex == index else each.tensorIndex
            setattr(subgraph, side, np.array(indices, np.int32))
        return changed

    def _is_float(self, tensor: Any) -> bool:
        return bool(tensor.type == self._schema.TensorType.FLOAT32)

    def _added(self, subgraph: Any, index: int, name: str, maker: Any) -> int:
        """A tensor of the integer type beside a float one, of whose range the name tells."""
        old, tensor = subgraph.tensors[index], self._schema.TensorT()
        tensor.name, tensor.buffer = f"{text_of(old.name)}/{self._type}".encode(), 0
        tensor.type = getattr(self._schema.TensorType, self._type.upper())
        tensor.shape, tensor.shapeSignature = old.shape, old.shapeSignature
        scale, zero = self._affine(name, maker)
        tensor.quantization = self._schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([scale], np.float32)
        tensor.quantization.zeroPoint = np.array([zero], np.int64)
        subgraph.tensors.append(tensor)
        return len(subgraph.tensors) - 1

    def _affine(self, name: str, maker: Any) -> tuple[float, int]:
        bits = _BITS[self._type]
        least = 0 if self._type == "uint8" else -(2 ** (bits - 1))
        if maker is not None and self._kind(maker) in _SHARES:
            return (2.0**-15, 0) if bits == 16 else (2.0**-bits, least)
        low, high = self._ranges.get(name, (-1.0, 1.0))
        low, high = min(low, 0.0), max(high, 0.0)
        if bits == 16:  # which has no zero point
            return max(-low, high, 1e-9) / (2**15 - 1), 0
        scale = max(high - low, 1e-9) / (2**bits - 1)
        return scale, round(least - low / scale)

    def _kind(self, operator: Any) -> str:
        from ai_edge_litert.tools import flatbuffer_utils

        return str(flatbuffer_utils.opcode_to_name(self._model, operator.opcodeIndex))

    def _operator(self, kind: str, source: int, target: int) -> Any:
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._code(kind)
        operator.inputs, operator.outputs = np.array([source], np.int32), np.array([target], np.int32)
        return operator

    def _code(self, kind: str) -> int:
        number = getattr(self._schema.BuiltinOperator, kind)
        for index, each in enumerate(self._model.operatorCodes):
            if each.builtinCode == number:
                return index
        code = self._schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 1
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1
