"""Signatures from TensorFlow's SignatureDef messages, and back. The one place that reads and writes them.

The messages are of whatever protobuf pool the caller has: TensorFlow's own classes, or those of attnexport.serving.
"""

from __future__ import annotations

from typing import Any

from .signature import InputlessSignature, Method, Shape, Signature, TensorSpec

# Numbers of the enum tensorflow.DataType; a test compares them with TensorFlow's own.
DTYPE_NAMES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64", 9: "int64",
    10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16", 16: "quint16", 17: "uint16",
    18: "complex128", 19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64", 24: "float8_e5m2",
    25: "float8_e4m3fn", 26: "float8_e4m3fnuz", 27: "float8_e4m3b11fnuz", 28: "float8_e5m2fnuz", 29: "int4",
    30: "uint4", 31: "int2", 32: "uint2", 33: "float4_e2m1fn",
}  # fmt: skip
DTYPE_NUMBERS = {name: number for number, name in DTYPE_NAMES.items()}

METHOD_NAMES: dict[Method, str] = {
    "predict": "tensorflow/serving/predict",
    "classify": "tensorflow/serving/classify",
    "regress": "tensorflow/serving/regress",
}
_METHODS = {name: method for method, name in METHOD_NAMES.items()}


def read_signature(name: str, definition: Any, *, inputless: bool = False) -> Signature | None:
    """A signature from a SignatureDef message.

    Args:
        name: The signature's name.
        definition: The message.
        inputless: Whether signatures without inputs count, even those of the dtype `invalid` (initializers).

    Returns:
        The signature, its tensors in alphabetical order; None if it has no input or no output, or one that is not a
        single dense tensor (an initializer, sparse inputs).
    """
    inputs, outputs = _specs(definition.inputs), _specs(definition.outputs, invalid=inputless)
    if inputless and outputs and not definition.inputs:
        return InputlessSignature(name, (), outputs)
    if not inputs or not outputs:
        return None
    return Signature(name, inputs, outputs, _METHODS.get(definition.method_name, "predict"))


def write_signature(signature: Signature, definition: Any) -> None:
    """Fill in a SignatureDef message; its tensors are named after the signature and their keys, `serving_default_x:0`.

    Args:
        signature: The signature.
        definition: The message, empty.
    """
    definition.method_name = METHOD_NAMES[signature.method]
    for infos, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
        for spec in specs:
            info = infos[spec.name]
            info.name, info.dtype = f"{signature.name}_{spec.name}:0", DTYPE_NUMBERS.get(spec.dtype, 0)
            if spec.shape is None:
                info.tensor_shape.unknown_rank = True
            for size in spec.shape or ():
                info.tensor_shape.dim.add(size=-1 if size is None else size)


def _specs(infos: Any, *, invalid: bool = False) -> tuple[TensorSpec, ...] | None:
    specs = []
    for name in sorted(infos):
        info = infos[name]
        dtype = DTYPE_NAMES.get(info.dtype, "invalid" if invalid else None)
        if dtype is None or info.WhichOneof("encoding") != "name":
            return None
        specs.append(TensorSpec(name, dtype, _shape(info.tensor_shape)))
    return tuple(specs)


def _shape(shape: Any) -> Shape | None:
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
