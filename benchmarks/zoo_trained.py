"""Models of the zoo that are trained on data made here: rare classes, offsets, and scores beside boxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers
from zoo_models import (
    Array,
    Foreign,
    images,
    series,
    series_transformer,
    tab_samples,
    tab_transformer,
    text_transformer,
)

# With as few samples as are held out, the last classes have none, or one.
_SKEWED = (0.5, 0.2, 0.1, 0.06, 0.05, 0.04, 0.03, 0.012, 0.005, 0.003)


def trained(
    build: Callable[[], keras.Model],
    samples: Callable[[int, int], dict[str, Array]],
    answers: Callable[[dict[str, Array]], Any],
    loss: Any,
    *,
    epochs: int = 4,
) -> Foreign:
    """A model that is trained on 1500 samples and the answers to them."""

    def make() -> keras.Model:
        model, given = build(), samples(1500, 1)
        model.compile(keras.optimizers.Adam(3e-3), loss)
        inputs = list(given.values())
        model.fit(inputs if len(inputs) > 1 else inputs[0], answers(given), epochs=epochs, batch_size=64, verbose=0)
        return model

    return Foreign("trained", make, samples, is_trained=True)


def _topics(n: int, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    labels = random.choice(4, n, p=(0.7, 0.2, 0.08, 0.02))
    ids = random.integers(0, 200, (n, 24))
    own = random.random(ids.shape) < 0.4
    return {"token_ids": np.where(own, labels[:, None] * 50 + ids % 50, ids).astype(np.int32)}


def _topic_of(given: dict[str, Array]) -> Array:
    return np.stack([(given["token_ids"] // 50 == each).sum(axis=1) for each in range(4)], axis=1).argmax(axis=1)


def _patterns(n: int, seed: int) -> dict[str, Array]:
    """Images of ten patterns, the last of which are rare."""
    shapes = np.random.default_rng(0).normal(0, 1, (10, 16, 16, 1))
    random = np.random.default_rng(seed)
    labels = random.choice(10, n, p=np.array(_SKEWED) / sum(_SKEWED))
    return {"image": (shapes[labels] + random.normal(0, 0.8, (n, 16, 16, 1))).astype(np.float32)}


def _pattern_of(given: dict[str, Array]) -> Array:
    shapes = np.random.default_rng(0).normal(0, 1, (10, 16, 16, 1))
    return (given["image"].reshape(-1, 256) @ shapes.reshape(10, 256).T).argmax(axis=1)


def _convolutions() -> keras.Model:
    x = inputs = keras.Input((16, 16, 1), name="image")
    for filters in (16, 32):
        x = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation="relu")(x))
    x = layers.Dense(48, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x), name="convolutions")


def _features() -> keras.Model:
    """The same, with the layer before the scores as an output of its own."""
    model = _convolutions()
    return keras.Model(model.inputs, {"classes": model.output, "features": model.layers[-2].output}, name="features")


def _lstm() -> keras.Model:
    x = inputs = keras.Input((24, 3), name="series")
    x = layers.LSTM(24)(layers.LSTM(24, return_sequences=True)(x))
    return keras.Model(inputs, layers.Dense(3, name="next")(x), name="lstm")


def _temperature() -> keras.Model:
    """A regression far from zero, with its offset in the model."""
    inputs = keras.Input((24, 3), name="series")
    x = layers.GRU(24)(inputs)
    return keras.Model(inputs, layers.Rescaling(2.5, 300.0, name="kelvin")(layers.Dense(1)(x)), name="temperature")


def _detector() -> keras.Model:
    """Boxes in pixels and scores, each an output of its own."""
    x = inputs = keras.Input((32, 32, 3), name="image")
    for filters in (16, 32, 48):
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    boxes = layers.Rescaling(32.0)(layers.Conv2D(4, 1, activation="sigmoid")(x))
    scores = layers.Conv2D(3, 1, activation="sigmoid")(x)
    outputs = {"boxes": layers.Reshape((16, 4))(boxes), "scores": layers.Reshape((16, 3))(scores)}
    return keras.Model(inputs, outputs, name="detector")


def _boxes_of(given: dict[str, Array]) -> dict[str, Array]:
    means = given["image"].reshape(-1, 4, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(-1, 16, 3)
    boxes = 16 + 8 * np.concatenate([means, means.mean(axis=-1, keepdims=True)], axis=-1)
    return {"boxes": boxes.astype(np.float32), "scores": (means > 1.0).astype(np.float32)}


_CLASSES = keras.losses.SparseCategoricalCrossentropy()

TRAINED: dict[str, Foreign] = {
    "text transformer": trained(text_transformer, _topics, _topic_of, _CLASSES),
    "series transformer": trained(
        series_transformer,
        series(48, 2),
        lambda given: np.digitize(given["series"].mean(axis=(1, 2)), [-0.8, 1.5]),
        _CLASSES,
    ),
    "TabTransformer": trained(
        tab_transformer,
        tab_samples,
        lambda given: (given["numbers"].sum(axis=1) + given["kinds"][:, 0] / 5 > 3).astype(np.float32),
        keras.losses.BinaryCrossentropy(from_logits=True),
    ),
    "rare classes": trained(_convolutions, _patterns, _pattern_of, _CLASSES),
    "scores and features": trained(
        _features, _patterns, lambda given: {"classes": _pattern_of(given)}, {"classes": _CLASSES}
    ),
    "LSTM": trained(_lstm, series(24, 3), lambda given: given["series"][:, -1] - given["series"][:, 0], "mse"),
    "300 K": trained(_temperature, series(24, 3), lambda given: 300 + 2.5 * given["series"][:, -1].mean(axis=1), "mse"),
    "detector": trained(_detector, images(32), _boxes_of, {"boxes": "mse", "scores": "binary_crossentropy"}),
}
