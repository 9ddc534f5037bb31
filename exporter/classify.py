"""The classify endpoint: serialized tf.Example in, classes and scores out, as TF Serving's Classify wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attnexport.core.errors import ArgumentError
from attnexport.core.signature import Arrays, Signature, TensorSpec

from .endpoint import Endpoint, Tensors
from .model_inputs import ModelInputs

_PROBABILITIES = ("softmax", "sigmoid")


def classify_endpoint(
    inputs: ModelInputs,
    default: Signature,
    predict: Callable[[Tensors], Tensors],
    labels: Sequence[str] | None,
) -> Endpoint | None:
    """The endpoint for a model whose inputs have fixed shapes and whose one output is `[batch, classes]`, else None.

    An example holds one feature per input, under the input's name. Scores are probabilities: the output itself
    where the model ends in softmax or sigmoid, else its softmax.

    Raises:
        ArgumentError: where there are not as many labels as classes.
    """
    shapes = [spec.shape[1:] if spec.shape else (None,) for spec in default.inputs]
    output = default.outputs[0]
    if (
        len(default.outputs) > 1
        or not output.is_float
        or output.shape is None
        or len(output.shape) != 2
        or output.shape[1] is None
        or any(None in shape for shape in shapes)
        or not all(spec.is_float or spec.is_integer for spec in default.inputs)
    ):
        return None
    classes = output.shape[1]
    if labels is not None and len(labels) != classes:
        raise ArgumentError(f"there are {len(labels)} labels for {classes} classes")
    names = np.array([str(index) for index in range(classes)] if labels is None else list(labels), dtype=object)
    features = {
        spec.name: tf.io.FixedLenFeature(shape, tf.float32 if spec.is_float else tf.int64)
        for spec, shape in zip(default.inputs, shapes, strict=True)
    }
    gives_probabilities = _ends_in_probabilities(inputs.model)

    def classify(tensors: Tensors) -> Tensors:
        parsed = tf.io.parse_example(tensors["inputs"], features)
        cast = {spec.name: tf.cast(parsed[spec.name], spec.dtype) for spec in default.inputs}
        scores = tf.cast(next(iter(predict(cast).values())), tf.float32)
        if not gives_probabilities:
            scores = tf.nn.softmax(scores)
        return {"classes": tf.tile(tf.constant(names)[None], [tf.shape(scores)[0], 1]), "scores": scores}

    batch = default.inputs[0].shape[0] if default.inputs[0].shape else None
    examples = TensorSpec("inputs", "string", (batch,))
    return Endpoint("classify", classify, (examples,), method="classify", feed=serialize_examples)


def serialize_examples(inputs: Arrays) -> Arrays:
    """Rows `[n, ...]` by input name as `n` serialized tf.Example, one feature per input."""
    rows = range(len(next(iter(inputs.values()))))
    serialized = [
        tf.train.Example(
            features=tf.train.Features(feature={name: _feature(array[row]) for name, array in inputs.items()})
        ).SerializeToString()
        for row in rows
    ]
    return {"inputs": np.array(serialized, dtype=object)}


def _feature(row: Any) -> tf.train.Feature:
    values = np.asarray(row).reshape(-1)
    if values.dtype.kind in "iu":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values.astype(np.int64)))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values.astype(np.float32)))


def _ends_in_probabilities(model: Any) -> bool:
    """Whether the model's last layer is a softmax or sigmoid, as a layer or an activation."""
    last = model.layers[-1] if getattr(model, "layers", None) else None
    if isinstance(last, keras.Model):
        return _ends_in_probabilities(last)
    if isinstance(last, keras.layers.Softmax):
        return True
    return getattr(getattr(last, "activation", None), "__name__", "") in _PROBABILITIES
