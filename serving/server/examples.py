"""Classification and regression: tf.Example in, classes, scores or values out, as TF Serving reads signatures."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnexport.core.errors import one_of
from attnexport.core.signature import Arrays, Signature

from .status import invalid

INPUTS, CLASSES, SCORES, OUTPUTS = "inputs", "classes", "scores", "outputs"


def serialized_examples(message: Any) -> np.ndarray[Any, Any]:
    """The examples of a tensorflow.serving.Input, serialized `[n]`, each behind the common context.

    Raises:
        StatusError: where there is none.
    """
    kind = message.WhichOneof("kind")
    examples = getattr(message, kind).examples if kind else []
    if not examples:
        raise invalid("the request's input holds no examples; at least one tf.Example is wanted")
    # Bytes that follow each other are merged by a parser, the later ones winning.
    common = message.example_list_with_context.context.SerializeToString() if kind != "example_list" else b""
    array = np.empty(len(examples), object)
    array[:] = [common + each.SerializeToString() for each in examples]
    return array


def check_kind(signature: Signature, method: str, *, by_name: bool) -> None:
    """Refuse a signature that cannot classify or regress.

    Args:
        signature: The signature.
        method: `classify` or `regress`.
        by_name: Whether the method's name in the artifact must say so too.

    Raises:
        StatusError: where its inputs or outputs are not those of the method.
    """
    what = f"signature {signature.name!r} cannot {method}"
    if by_name and signature.method != method:
        raise invalid(f"{what}: its method is {signature.method}")
    if [spec.name for spec in signature.inputs] != [INPUTS]:
        raise invalid(f"{what}: its inputs are {_names(signature.inputs)}, one named {INPUTS!r} is wanted")
    names = {spec.name for spec in signature.outputs}
    if method == "regress" and names != {OUTPUTS}:
        raise invalid(f"{what}: its outputs are {_names(signature.outputs)}, one named {OUTPUTS!r} is wanted")
    if method == "classify" and (len(names) > 2 or not names & {CLASSES, SCORES}):
        raise invalid(
            f"{what}: its outputs are {_names(signature.outputs)}, {one_of([CLASSES, SCORES])} or both are wanted"
        )


def wanted_outputs(signature: Signature, method: str) -> tuple[str, ...]:
    """Which of the outputs the reply is made of."""
    usable = {OUTPUTS} if method == "regress" else {CLASSES, SCORES}
    return tuple(spec.name for spec in signature.outputs if spec.name in usable)


def fill_classifications(result: Any, outputs: Arrays, count: int) -> None:
    """Write classes and scores `[n, classes]` into a tensorflow.serving.ClassificationResult."""
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    for name, array, kind in ((CLASSES, classes, "OSU"), (SCORES, scores, "f")):
        if array is not None and (array.ndim != 2 or len(array) != count or array.dtype.kind not in kind):
            raise invalid(f"output {name!r} is {array.dtype} {list(array.shape)}; [{count}, classes] is wanted")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid(f"classes {list(classes.shape)} and scores {list(scores.shape)} differ in shape")
    columns = (classes if classes is not None else scores).shape[1]  # type: ignore[union-attr] # one is there
    labels = [[""] * columns] * count if classes is None else classes.tolist()
    values = [[0.0] * columns] * count if scores is None else scores.tolist()
    for row_labels, row_values in zip(labels, values, strict=True):
        row = result.classifications.add()
        for label, value in zip(row_labels, row_values, strict=True):
            text = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
            row.classes.add(label=text, score=value)


def fill_regressions(result: Any, outputs: Arrays, count: int) -> None:
    """Write values `[n]` or `[n, 1]` into a tensorflow.serving.RegressionResult."""
    array = outputs[OUTPUTS]
    if array.shape not in ((count,), (count, 1)) or array.dtype.kind != "f":
        raise invalid(f"output {OUTPUTS!r} is {array.dtype} {list(array.shape)}; [{count}] or [{count}, 1] is wanted")
    for value in array.reshape(-1).tolist():
        result.regressions.add(value=value)


def _names(specs: Any) -> str:
    return ", ".join(repr(spec.name) for spec in specs)
