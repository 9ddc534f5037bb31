"""Checks for damage in a .tflite that would crash the interpreter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any


def check_model(model: Any) -> None:
    """Refuse a flatbuffer whose indices point at nothing, or whose scales are not positive.

    Args:
        model: The objects of its schema, as `parse_model` returns them.

    Raises:
        ValueError: naming the first problem.
    """
    buffers, codes = len(model.buffers), len(model.operatorCodes or ())
    for number, subgraph in enumerate(model.subgraphs):
        place = f"subgraph {number}"
        tensors = len(subgraph.tensors)
        _check(f"{place}: an input is tensor", subgraph.inputs, tensors, optional=True)
        _check(f"{place}: an output is tensor", subgraph.outputs, tensors, optional=True)
        for tensor in subgraph.tensors:
            _check(f"{place}: tensor {text_of(tensor.name)!r} has buffer", [tensor.buffer], buffers)
            _check_quantization(tensor)
        for operator in subgraph.operators or ():
            _check(f"{place}: an operator has code", [operator.opcodeIndex], codes)
            _check(f"{place}: an operator takes tensor", operator.inputs, tensors, optional=True)
            _check(f"{place}: an operator gives tensor", operator.outputs, tensors, optional=True)
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


def _check_quantization(tensor: Any) -> None:
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    for scale in () if scales is None else scales:
        if not math.isfinite(scale) or scale <= 0:
            held = "NaN" if math.isnan(scale) else f"{scale:g}"
            raise ValueError(
                f"the quantization of tensor {text_of(tensor.name)!r} holds {held}, where finite positive scales are "
                "expected"
            )


def text_of(name: Any) -> str:
    """The bytes of a flatbuffer's string as text, whatever they are."""
    return (b"" if name is None else bytes(name)).rstrip(b"\0").decode("utf-8", "replace")
