"""The classify endpoint: serialized tf.Example in, classes and scores out, as TF Serving's Classify wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attnexport.core.errors import ArgumentError
from attnexport.core.signature import Arrays, Signature, TensorSpec, duplicates
from attnexport.core.tf_example import write_example

from .endpoint import Endpoint, Tensors, TracedEndpoint


def classify_endpoint(
    model: Any, default: TracedEndpoint, labels: Sequence[str] | None, samples: Arrays | None
) -> Endpoint | None:
    """The endpoint for a model whose inputs have fixed shapes and whose one output is `[batch, classes]`, else None.

    An example holds one feature per input, under the input's name. Scores are probabilities: the output itself if it
    is a softmax or sigmoid, otherwise its softmax. If the model's last layer does not show which, the output counts as
    probabilities if it lies within 0 and 1 on every sample. A single column of probabilities is that of the second of
    two classes; any other single column is not a classification.

    Args:
        model: The `keras.Model`.
        default: The endpoint `serving_default`.
        labels: Names of the classes; their numbers if None.
        samples: Arrays `[n, ...]` by input name to try the model on.

    Raises:
        ArgumentError: if the number of labels is not that of the classes, or a label is empty or given twice.
    """
    signature, predict = default.signature, default.endpoint.function
    shapes = [spec.shape[1:] if spec.shape else (None,) for spec in signature.inputs]
    columns = _columns(signature)
    if (
        samples is None
        or columns is None
        or any(None in shape for shape in shapes)
        or not all(spec.is_float or spec.is_integer for spec in signature.inputs)
    ):
        return None
    gives_probabilities = _ends_in_probabilities(model)
    if gives_probabilities is None:
        gives_probabilities = _within_0_and_1(predict, samples)
    if gives_probabilities is None or (columns == 1 and not gives_probabilities):
        return None
    names = np.array(_check_labels(labels, max(columns, 2)), dtype=object)
    features = {
        spec.name: tf.io.FixedLenFeature(shape, tf.float32 if spec.is_float else tf.int64)
        for spec, shape in zip(signature.inputs, shapes, strict=True)
    }

    def classify(tensors: Tensors) -> Tensors:
        parsed = tf.io.parse_example(tensors["inputs"], features)
        cast = {spec.name: tf.cast(parsed[spec.name], spec.dtype) for spec in signature.inputs}
        scores = tf.cast(next(iter(predict(cast).values())), tf.float32)
        if columns == 1:
            scores = tf.concat([1.0 - scores, scores], axis=-1)
        elif not gives_probabilities:
            scores = tf.nn.softmax(scores)
        return {"classes": tf.tile(tf.constant(names)[None], [tf.shape(scores)[0], 1]), "scores": scores}

    batch = signature.inputs[0].shape[0] if signature.inputs[0].shape else None
    examples = TensorSpec("inputs", "string", (batch,))
    return Endpoint("classify", classify, (examples,), method="classify", feed=serialize_examples)


def serialize_examples(inputs: Arrays) -> Arrays:
    """Rows `[n, ...]` by input name as `n` serialized tf.Example, one feature per input."""
    serialized = []
    for row in range(len(next(iter(inputs.values())))):
        example = tf.train.Example()
        write_example({name: array[row] for name, array in inputs.items()}, example)
        serialized.append(example.SerializeToString())
    return {"inputs": np.array(serialized, dtype=object)}


def _columns(signature: Signature) -> int | None:
    """The number of columns if the signature gives one row of scores per sample, otherwise None."""
    output = signature.outputs[0]
    if len(signature.outputs) > 1 or not output.is_float or output.shape is None or len(output.shape) != 2:
        return None
    return output.shape[1]


def _ends_in_probabilities(model: Any) -> bool | None:
    """Whether the output comes from a softmax or sigmoid; None if that cannot be seen."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1:
        return None
    tensor = outputs[0]
    while True:
        operation, node, _ = tensor._keras_history
        if isinstance(operation, keras.Model):
            return _ends_in_probabilities(operation)
        activation = getattr(getattr(operation, "activation", None), "__name__", type(operation).__name__.lower())
        if activation in ("softmax", "sigmoid"):
            return True
        passes_on = isinstance(operation, keras.layers.Activation) and activation == "linear"
        if not passes_on and activation not in ("dropout", "flatten", "reshape"):
            # An activation of another name gives no probabilities; an operation without one may do anything.
            return False if hasattr(operation, "activation") else None
        tensor = operation._inbound_nodes[node].input_tensors[0]


def _within_0_and_1(predict: Callable[[Tensors], Tensors], samples: Arrays) -> bool | None:
    """Whether the output lies within 0 and 1 on the samples; None if the model fails on them."""
    try:
        outputs = predict({name: tf.convert_to_tensor(array) for name, array in samples.items()})
    except Exception:  # a user's layers may raise anything
        return None
    scores = np.asarray(tf.cast(next(iter(outputs.values())), tf.float32))
    return bool(((scores >= 0) & (scores <= 1)).all()) if np.isfinite(scores).all() else None


def _check_labels(labels: Sequence[str] | None, classes: int) -> list[str]:
    if labels is None:
        return [str(index) for index in range(classes)]
    if len(labels) != classes:
        raise ArgumentError(f"{len(labels)} label(s) were given for {classes} classes")
    if not all(labels):
        raise ArgumentError(f"label {list(labels).index('') + 1} is empty")
    if repeated := duplicates(labels):
        raise ArgumentError(f"label {repeated[0]!r} is named twice")
    return list(labels)
