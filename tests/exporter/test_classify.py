"""The signature classify: examples in, classes and probabilities out, and none where it would mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core import ArgumentError
from attnexport.workflows.export import export_saved_model

X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


def examples(name: str = "input") -> Any:
    """X as serialized examples, made by hand."""
    return np.array(
        [
            tf.train.Example(
                features=tf.train.Features(feature={name: tf.train.Feature(float_list=tf.train.FloatList(value=row))})
            ).SerializeToString()
            for row in X
        ],
        object,
    )


def functional(head: Callable[[Any], Any]) -> Any:
    inputs = keras.Input((4,))
    return keras.Model(inputs, head(inputs), name="m")


class SoftmaxFirst(keras.Model):  # type: ignore[misc]
    """Defines its head before its body, so that the last of its layers is not its output."""

    def __init__(self) -> None:
        super().__init__(name="m")
        self.head, self.body = keras.layers.Dense(3, "softmax"), keras.layers.Dense(5, "relu")

    def call(self, x: Any) -> Any:
        return self.head(self.body(x))


def softmax_first() -> Any:
    model = SoftmaxFirst()
    model(X)
    return model


PROBABILITIES = {
    "softmax activation": lambda: functional(keras.layers.Dense(3, "softmax")),
    "softmax operation": lambda: functional(lambda x: keras.ops.softmax(keras.layers.Dense(3)(x))),
    "softmax, dropout": lambda: functional(lambda x: keras.layers.Dropout(0.1)(keras.layers.Dense(3, "softmax")(x))),
    "softmax, reshape": lambda: functional(lambda x: keras.layers.Reshape((3,))(keras.layers.Dense(3, "softmax")(x))),
    "sigmoid": lambda: functional(keras.layers.Dense(3, "sigmoid")),
    "subclassed": softmax_first,
}


def image_model() -> Any:
    """Nearly black images would all give its biases, which lie within 0 and 1."""
    model = keras.Sequential(
        [keras.Input((4,), dtype="float32"), keras.layers.Rescaling(1e-4), keras.layers.Dense(3)], name="m"
    )
    model.layers[-1].bias.assign([0.2, 0.5, 0.3])
    return model


LOGITS = {
    "nearly constant": image_model,
    "logits": lambda: functional(keras.layers.Dense(3)),
    "gated": lambda: functional(lambda x: keras.layers.Dense(3)(x) * keras.layers.Dense(3, "sigmoid")(x)),
}


def softmax(logits: Any) -> Any:
    exponentials = np.exp(np.asarray(logits, np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_probabilities_are_the_scores(tmp_path: Path, run: Any, name: str) -> None:
    model = PROBABILITIES[name]()
    result = export_saved_model(model, tmp_path)
    scores = run(result, {"inputs": examples()}, "classify")["scores"]
    np.testing.assert_allclose(scores, model(X, training=False), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LOGITS)
def test_logits_are_made_probabilities(tmp_path: Path, run: Any, name: str) -> None:
    model = LOGITS[name]()
    result = export_saved_model(model, tmp_path)
    scores = run(result, {"inputs": examples()}, "classify")["scores"]
    np.testing.assert_allclose(scores, softmax(model(X)), rtol=0, atol=1e-6)


def test_one_probability_is_that_of_the_second_class(tmp_path: Path, run: Any) -> None:
    model = functional(keras.layers.Dense(1, "sigmoid"))
    result = export_saved_model(model, tmp_path, labels=["no", "yes"])
    outputs = run(result, {"inputs": examples()}, "classify")
    assert outputs["classes"][0].tolist() == [b"no", b"yes"]
    np.testing.assert_allclose(outputs["scores"][:, 1:], model(X), rtol=0, atol=1e-6)
    np.testing.assert_allclose(outputs["scores"].sum(axis=1), 1, rtol=0, atol=1e-6)


def test_a_regression_is_no_classification(tmp_path: Path, described: Any) -> None:
    assert "classify" not in described(export_saved_model(functional(keras.layers.Dense(1)), tmp_path))


def test_several_inputs_and_integers_come_from_one_example(tmp_path: Path, run: Any) -> None:
    tokens, x = keras.Input((3,), dtype="int32", name="tokens"), keras.Input((4,), name="x")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(9, 2)(tokens))
    model = keras.Model([tokens, x], keras.layers.Dense(2)(keras.layers.Concatenate()([embedded, x])), name="m")
    result = export_saved_model(model, tmp_path)
    feature = {
        "tokens": tf.train.Feature(int64_list=tf.train.Int64List(value=[1, 5, 8])),
        "x": tf.train.Feature(float_list=tf.train.FloatList(value=X[0])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    scores = run(result, {"inputs": np.array([example], object)}, "classify")["scores"]
    np.testing.assert_allclose(scores, softmax(model([np.array([[1, 5, 8]]), X[:1]])), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["a", "", "c"], "label 2 is empty"), (["a", "b", "a"], "label 'a' is named twice"), (["a"], "for 3 classes")],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        export_saved_model(LOGITS["logits"](), tmp_path / "out", labels=labels)
    assert not (tmp_path / "out").exists()


def test_where_made_up_samples_fail_the_last_layer_decides(tmp_path: Path, run: Any) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(keras.ops.log(inputs)), name="m")
    positive = np.abs(X) + 0.1
    result = export_saved_model(model, tmp_path, warmup={"input": positive})
    feature = {"input": tf.train.Feature(float_list=tf.train.FloatList(value=positive[0]))}
    example = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    scores = run(result, {"inputs": np.array([example], object)}, "classify")["scores"]
    np.testing.assert_allclose(scores, model(positive[:1]), rtol=0, atol=1e-6)
