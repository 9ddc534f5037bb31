"""Conversion of a SavedModel to a float32 .tflite by TensorFlow's converter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from attnexport.core.errors import ArgumentError, ModelError, first_line, no_such
from attnexport.core.native_logs import without_native_logs
from attnexport.core.signature import DEFAULT_SIGNATURE, Signature, TensorSpec, format_shape
from attnexport.store.files import size_of

from .rewriting import convertible

# A flatbuffer's offsets are 32 bits with a sign.
MAX_BYTES = 2**31 - 1

_UNSUPPORTED = re.compile(r"loc\((?:callsite\()?fused\[\"[^\"]*\", \"([^\"@]*)@?[^\"]*\"\].*?'tf\.(\w+)' op is neither")
_OTHER_FLOAT = re.compile(r"tf\.(\w+)\(tensor<(?:[\d?]+x)*(f16|bf16|f64)>")
_FLOATS = {"f16": "float16", "bf16": "bfloat16", "f64": "float64"}
_DETAILS = re.compile(r"^\s*(?:TF Select|Custom) ops: (.+)$", re.MULTILINE)
_LIST_OF_TENSORS = ("TensorListReserve", "explicitly marked illegal")  # the latter of what reads or hands on a list


def convert_float(
    saved_model: Path, signatures: Sequence[str] = (DEFAULT_SIGNATURE,), *, allow_flex: bool = False
) -> bytes:
    """Convert signatures of a SavedModel to float32, sharing their weights.

    Args:
        saved_model: A SavedModel whose signatures have fixed shapes.
        signatures: Names of the signatures to convert.
        allow_flex: Leave operators without a TFLite kernel to TensorFlow's.

    Raises:
        ModelError: if an operator has no kernel, or the model is larger than a flatbuffer can be.
    """
    size = size_of(saved_model)
    if size > MAX_BYTES:
        raise ModelError(
            f"the SavedModel has {size / 1e9:.1f} GB, and a .tflite at most 2 GB, even before it is quantized; split "
            "the model, or serve the SavedModel"
        )
    with convertible(saved_model) as path, without_native_logs():
        try:
            converter = tf.lite.TFLiteConverter.from_saved_model(str(path), signature_keys=list(signatures))
            # Private; without it a loop over blocks copies its list in each round.
            converter._experimental_enable_dynamic_update_slice = True
            if allow_flex:
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
            return bytes(converter.convert())
        except Exception as error:  # the converter raises whatever its parts raise
            raise ModelError(f"the model cannot become a .tflite: {_reason(error)}") from error


def check_convertible(signatures: Mapping[str, Signature], names: Sequence[str]) -> None:
    """Refuse signatures that do not exist or that a .tflite cannot have.

    Raises:
        ArgumentError: naming the problem, and the signatures that exist.
    """
    for name in names:
        if name not in signatures:
            raise ArgumentError(no_such("signature", name, sorted(signatures)))
        signature = signatures[name]
        for spec in (*signature.inputs, *signature.outputs):
            if spec.dtype == "string":
                raise ArgumentError(
                    f"signature {name!r} has strings ({spec}), which LiteRT's CompiledModel does not take; "
                    f"name another with --signature ({DEFAULT_SIGNATURE} is the default)"
                )
            if spec.shape and 0 in spec.shape:
                raise ArgumentError(
                    f"signature {name!r} has a tensor without elements ({spec}), which LiteRT does not run; leave it "
                    "out of the model"
                )
        for spec in signature.inputs:
            if spec.shape is None or None in spec.shape:
                raise ArgumentError(
                    f"input {spec.name!r} of signature {name!r} has shape {format_shape(spec.shape)}, and a .tflite "
                    f"needs fixed ones; {_how_to_fix(spec)}"
                )
        if not any(spec.shape for spec in signature.inputs):
            raise ArgumentError(f"signature {name!r} takes scalars alone, without a batch dimension for samples")


def _how_to_fix(spec: TensorSpec) -> str:
    """The option that fixes the free dimensions of an input."""
    free = [axis for axis, size in enumerate(spec.shape or ()) if size is None]
    if free in ([], [1]):
        return "fix the steps with --steps N"
    letters = iter("NMKLPQRSTUVW")
    sizes = ",".join(next(letters, "N") if size is None else str(size) for size in spec.shape or ())
    return f"fix them with --shape {spec.name}={sizes}, a number for each letter"


def _reason(error: BaseException) -> str:
    text = str(error)
    layers_by_operator: dict[str, list[str]] = {}
    for place, operator in _UNSUPPORTED.findall(text):
        layer = place.rpartition("/")[0] or place
        layers = layers_by_operator.setdefault(operator, [])
        if layer not in layers:
            layers.append(layer)
    if not layers_by_operator:
        details = _DETAILS.search(text)
        if details is None and any(words in text for words in _LIST_OF_TENSORS):
            return (
                "a loop keeps a list of tensors whose shape is not fixed, which TFLite does not have; build recurrent "
                "layers with unroll=True, or pass the model of Keras 3"
            )
        if details is None:
            return first_line(error)
        layers_by_operator = {operator.strip(): [] for operator in details.group(1).split(",")}
    types = {operator: _FLOATS[dtype] for operator, dtype in _OTHER_FLOAT.findall(text)}
    named = {
        operator: f"{operator} of {types[operator]}" if operator in types else operator
        for operator in layers_by_operator
    }
    operators = "; ".join(
        f"{named[operator]} in {', '.join(map(repr, layers))}" if layers else named[operator]
        for operator, layers in layers_by_operator.items()
    )
    other = (
        "cast to float32 before it" if types.keys() >= layers_by_operator.keys() else "write it with other operations"
    )
    return f"there is no TFLite kernel for {operators}; {other}, or allow TensorFlow's (--allow-flex)"
