"""Checks for damage in a .tflite that would crash the interpreter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

from .subgraph_check import check_calls, check_order

# Inputs that an operator may leave out (-1), from this number on; no other operator of LiteRT's own may.
_OPTIONAL_FROM = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": 1,
    "BIDIRECTIONAL_SEQUENCE_RNN": 1,
    "CONV_2D": 2,
    "CONV_3D": 2,
    "CONV_3D_TRANSPOSE": 3,
    "CUSTOM": 0,
    "DELEGATE": 0,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "LSTM": 1,
    "PAD": 2,
    "PADV2": 2,
    "SVDF": 3,
    "TRANSPOSE_CONV": 3,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 1,
}
_BITS = {
    "BFLOAT16": 16, "BOOL": 8, "COMPLEX128": 128, "COMPLEX64": 64, "FLOAT16": 16, "FLOAT32": 32, "FLOAT64": 64,
    "INT16": 16, "INT2": 2, "INT32": 32, "INT4": 4, "INT64": 64, "INT8": 8, "UINT16": 16, "UINT32": 32, "UINT64": 64,
    "UINT8": 8,
}  # fmt: skip
_RANGES = {
    "INT16": (-(2**15), 2**15 - 1), "INT32": (-(2**31), 2**31 - 1), "INT4": (-8, 7), "INT8": (-128, 127),
    "UINT8": (0, 255),
}  # fmt: skip


def check_model(model: Any, size: int) -> None:
    """Refuse a flatbuffer that the interpreter would crash on.

    Indices must point at something, an operator must have the inputs that its kernel needs, constants must fill their
    shapes, scales must be positive, operators must read what was computed before, and subgraphs must not call
    themselves.

    Args:
        model: The objects of its schema, as `parse_model` returns them.
        size: Size of the file in bytes.

    Raises:
        ValueError: naming the first problem.
    """
    buffers, names = len(model.buffers), [operator_name(code) for code in model.operatorCodes or ()]
    for number, subgraph in enumerate(model.subgraphs):
        place = f"subgraph {number}"
        tensors = len(subgraph.tensors)
        _check(f"{place}: an input is tensor", subgraph.inputs, tensors, optional=True)
        _check(f"{place}: an output is tensor", subgraph.outputs, tensors, optional=True)
        for tensor in subgraph.tensors:
            _check(f"{place}: tensor {text_of(tensor.name)!r} has buffer", [tensor.buffer], buffers)
            _check_quantization(tensor)
            _check_size(tensor, model.buffers[tensor.buffer], size)
        for operator in subgraph.operators or ():
            _check(f"{place}: an operator has code", [operator.opcodeIndex], len(names))
            _check(f"{place}: an operator takes tensor", operator.inputs, tensors, optional=True)
            _check(f"{place}: an operator gives tensor", operator.outputs, tensors, optional=True)
            _check_operands(f"{place}: {names[operator.opcodeIndex]}", operator, names[operator.opcodeIndex])
        check_order(place, subgraph, model.buffers, names)
    check_calls(model)
    for each in model.metadata or ():
        _check(f"metadata {text_of(each.name)!r} has buffer", [each.buffer], buffers)
    for definition in model.signatureDefs or ():
        place = f"signature {text_of(definition.signatureKey)!r}"
        _check(f"{place} is subgraph", [definition.subgraphIndex], len(model.subgraphs))
        tensors = len(model.subgraphs[definition.subgraphIndex].tensors)
        for kind, maps in (("input", definition.inputs), ("output", definition.outputs)):
            for each in maps or ():
                _check(f"{place}: {kind} {text_of(each.name)!r} is tensor", [each.tensorIndex], tensors)


def _check(what: str, indices: Iterable[int] | None, count: int, *, optional: bool = False) -> None:
    """Check that indices are below a count; -1 stands for an optional tensor that is left out."""
    for index in () if indices is None else indices:
        if not (-1 if optional else 0) <= index < count:
            raise ValueError(f"{what} {index}, of {count} there are")


def _check_operands(place: str, operator: Any, name: str) -> None:
    """Check that inputs are left out only where the kernel can do without, and no outputs."""
    first = _OPTIONAL_FROM.get(name, math.inf)
    for number, index in enumerate(_indices(operator.inputs)):
        if index == -1 and number < first:
            raise ValueError(f"{place} has no input {number}, which it needs")
    if name not in ("CUSTOM", "DELEGATE") and -1 in _indices(operator.outputs):
        raise ValueError(f"{place} has an output without a tensor")


def _check_size(tensor: Any, buffer: Any, size: int) -> None:
    """Check that a constant lies within the file, and is as long as its shape and type need."""
    data = buffer.data
    length = int(buffer.size or 0) if data is None else len(data)
    if not length:
        return  # the tensor is computed
    name = text_of(tensor.name)
    if data is None and int(buffer.offset or 0) + length > size:
        raise ValueError(f"the constant {name!r} ends after the file")
    shape = _indices(tensor.shape)
    bits = _BITS.get(_type_name(tensor.type))
    if bits is None or tensor.sparsity is not None:
        return
    if any(each < 0 for each in shape):
        raise ValueError(f"the constant {name!r} has shape {shape}")
    needed = -(-math.prod(shape) * bits // 8)
    if length < needed:
        raise ValueError(f"the constant {name!r} has {length:,} bytes; its shape {shape} needs {needed:,}")


def _check_quantization(tensor: Any) -> None:
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    for scale in () if scales is None else scales:
        if not math.isfinite(scale) or scale <= 0:
            held = "NaN" if math.isnan(scale) else f"{scale:g}"
            raise ValueError(
                f"the quantization of tensor {text_of(tensor.name)!r} holds {held}, where finite positive scales are "
                "expected"
            )
    low, high = _RANGES.get(_type_name(tensor.type), (-math.inf, math.inf))
    for zero in _indices(tensor.quantization.zeroPoint if tensor.quantization is not None else None):
        if not low <= zero <= high:
            raise ValueError(f"tensor {text_of(tensor.name)!r} has zero point {zero}, which its type cannot hold")


def _indices(values: Any) -> list[int]:
    return [] if values is None else [int(value) for value in values]


@cache
def _names(enumeration: str) -> dict[int, str]:
    from ai_edge_litert.tools import flatbuffer_utils

    members = vars(getattr(flatbuffer_utils.schema_fb, enumeration))
    return {value: name for name, value in members.items() if isinstance(value, int)}


def _type_name(number: int) -> str:
    return _names("TensorType").get(number, "")


def operator_name(code: Any) -> str:
    """The name of an operator's kernel: `CUSTOM` for all that are not LiteRT's own."""
    # Codes below 127 stand in the older field as well, and in old files only there.
    return _names("BuiltinOperator").get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")


def text_of(name: Any) -> str:
    """The bytes of a flatbuffer's string as text, whatever they are."""
    return (b"" if name is None else bytes(name)).rstrip(b"\0").decode("utf-8", "replace")
