"""Classification and regression: tf.Example in, classes, scores or values out, as TF Serving reads signatures."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnexport.core.errors import one_of
from attnexport.core.signature import Array, Arrays, Signature, dtype_name

from .status import invalid

INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"
_KINDS = {"classify": "classification", "regress": "regression"}
_DATA_TYPES = {"float32": "float", "float64": "double", "float16": "half"}


def serialized_examples(message: Any) -> Array:
    """The examples of a tensorflow.serving.Input, serialized `[n]`, each after the common context.

    Raises:
        StatusError: if there are none.
    """
    kind = message.WhichOneof("kind")
    examples = getattr(message, kind).examples if kind else []
    if not examples:
        raise invalid("Input is empty. The request needs at least one tf.Example")
    # A parser merges messages that follow each other; later values win.
    common = message.example_list_with_context.context.SerializeToString() if kind != "example_list" else b""
    array = np.empty(len(examples), object)
    array[:] = [common + each.SerializeToString() for each in examples]
    return array


def check_kind(signature: Signature, method: str, method_name: str | None = None) -> None:
    """Refuse a signature that cannot classify or regress.

    Args:
        signature: The signature.
        method: `classify` or `regress`.
        method_name: The method name in the SignatureDef, if it must be the method's, too.

    Raises:
        StatusError: if its inputs or outputs are not those of the method.
    """
    kind = _KINDS[method]
    if method_name not in (None, own := f"tensorflow/serving/{method}"):
        raise invalid(f"Expected {kind} signature method_name to be {own}. Was: {method_name}")
    inputs, outputs = ([spec.name for spec in specs] for specs in (signature.inputs, signature.outputs))
    takes = f"Signature {signature.name!r} takes {_names(inputs)}; {method} needs one input named {INPUTS!r}"
    if len(inputs) != 1:
        raise invalid(f"Expected one input Tensor. {takes}")
    if method == "regress":
        gives = f"Signature {signature.name!r} gives {_names(outputs)}; regress needs one output named {OUTPUTS!r}"
        if len(outputs) != 1:
            raise invalid(f"Expected one output Tensor. {gives}")
    else:
        gives = (
            f"Signature {signature.name!r} gives {_names(outputs)}; classify needs {one_of([CLASSES, SCORES])}, or both"
        )
        if len(outputs) > 2:
            raise invalid(f"Expected one or two output Tensors, found {len(outputs)}. {gives}")
    if inputs != [INPUTS]:
        raise invalid(f"No {kind} inputs found in SignatureDef: {takes}")
    if method == "regress" and outputs != [OUTPUTS]:
        raise invalid(f"No regression outputs found in SignatureDef: {gives}")
    if method == "classify" and not {CLASSES, SCORES} & set(outputs):
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {gives}"
        )


def wanted_outputs(signature: Signature, method: str) -> tuple[str, ...]:
    """The outputs that the reply is made of."""
    usable = {OUTPUTS} if method == "regress" else {CLASSES, SCORES}
    return tuple(spec.name for spec in signature.outputs if spec.name in usable)


def fill_classifications(result: Any, outputs: Arrays, count: int) -> None:
    """Write classes and scores `[n, classes]` into a tensorflow.serving.ClassificationResult.

    Raises:
        StatusError: if they have another dtype or shape.
    """
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    for name, array, dtype in ((CLASSES, classes, "string"), (SCORES, scores, "float32")):
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)} of output {name!r}")
        if dtype_name(array) != dtype:
            raise invalid(f"Expected {name} Tensor of {_data_type(dtype)}. Got: {_data_type(dtype_name(array))}")
        if len(array) != count:
            raise invalid(f"Expected {name} output batch size of {count}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    columns = (classes if classes is not None else scores).shape[1]  # type: ignore[union-attr] # one is there
    labels = [[""] * columns] * count if classes is None else classes.tolist()
    values = [[0.0] * columns] * count if scores is None else scores.tolist()
    for row_labels, row_values in zip(labels, values, strict=True):
        row = result.classifications.add()
        for label, value in zip(row_labels, row_values, strict=True):
            text = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
            row.classes.add(label=text, score=value)


def fill_regressions(result: Any, outputs: Arrays, count: int) -> None:
    """Write values `[n]` or `[n, 1]` into a tensorflow.serving.RegressionResult.

    Raises:
        StatusError: if they have another dtype or shape.
    """
    array = outputs[OUTPUTS]
    if array.ndim != 1 and array.shape[1:] != (1,):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)} of output {OUTPUTS!r}"
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if dtype_name(array) != "float32":
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_data_type(dtype_name(array))}")
    for value in array.reshape(-1).tolist():
        result.regressions.add(value=value)


def _names(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"


def _shape(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _data_type(name: str) -> str:
    """The name in the enum tensorflow.DataType of a dtype."""
    return "DT_" + _DATA_TYPES.get(name, name).upper()
