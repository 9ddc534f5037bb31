"""The models that `search.py` measures: digits, a heavy-tailed input, normalization, tokens with masks, and depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from attnexport.examples.digits import ATTENTION, INPUT, MULTIHEAD, load_digits, train_digits
from attnexport.exporter import MultiHeadAttentionConcat

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Trained:
    """A model, and its samples with labels: those that it was trained on, and others."""

    model: keras.Model
    train: dict[str, Array]
    held_out: dict[str, Array]


def digits(directory: Path) -> dict[str, Trained]:
    """Both digits models of the example."""
    trained, data = train_digits(directory), load_digits()
    return {
        name: Trained(keras.models.load_model(trained.models[name]), data.train, data.held_out)
        for name in (ATTENTION, MULTIHEAD)
    }


def heavy_tailed() -> Trained:
    """One feature in a thousand samples is 100 times larger; the classes show in all others."""
    rng = np.random.default_rng(1)
    patterns = rng.standard_normal((6, 16, 16)).astype(np.float32)
    labels = rng.integers(0, 6, 5000)
    samples = 0.35 * patterns[labels] + rng.standard_normal((5000, 16, 16)).astype(np.float32)
    hit = rng.random(5000) < 1e-3
    samples[hit, :, 5] *= 100
    return _split(_classifier((16, 16), blocks=1, classes=6, normalized=False), samples, labels, epochs=6)


def normalized() -> Trained:
    """Digits through a transformer block with LayerNormalization."""
    data = load_digits()
    model = _classifier((8, 8), blocks=1, classes=10, normalized=True, width=48)
    return _trained(model, data.train, data.held_out, epochs=25)


def tokens() -> Trained:
    """Embedded tokens of unequal lengths behind a mask: which of four groups has the most members?"""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 5000)
    samples = rng.integers(1, 401, (5000, 24)).astype(np.int32)
    own = rng.random(samples.shape) < 0.3
    samples[own] = (1 + labels[:, None] * 100 + rng.integers(0, 100, samples.shape))[own]
    samples[np.arange(24) >= rng.integers(8, 25, (5000, 1))] = 0
    tokens_in = keras.Input((24,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(401, 32, mask_zero=True, name="table")(tokens_in)
    x = MultiHeadAttentionConcat(4, 32, 8, name="attention")(x)
    x = keras.layers.Dense(64, activation="relu", name="hidden")(x)
    x = keras.layers.GlobalAveragePooling1D(name="mean")(x)
    model = keras.Model(tokens_in, keras.layers.Dense(4, name="logits")(x), name="tokens")
    return _split(model, samples, labels, epochs=5)


def deep() -> Trained:
    """Digits through six transformer blocks."""
    data = load_digits()
    model = _classifier((8, 8), blocks=6, classes=10, normalized=True, width=48)
    return _trained(model, data.train, data.held_out, epochs=25)


OTHERS: dict[str, Callable[[], Trained]] = {
    "heavy-tailed": heavy_tailed,
    "normalized": normalized,
    "tokens": tokens,
    "deep": deep,
}


def _classifier(shape: tuple[int, int], *, blocks: int, classes: int, normalized: bool, width: int = 48) -> keras.Model:
    """Blocks of attention-concat and two dense layers with residual sums, then a mean and the scores."""
    rows = keras.Input(shape, name=INPUT)
    x = keras.layers.Dense(width, name="in")(rows)
    for number in range(blocks):
        attended = MultiHeadAttentionConcat(4, width, width // 4, name=f"attention_{number}")(x)
        y = keras.layers.Dense(width, activation="relu", name=f"hidden_{number}")(attended)
        x = keras.layers.Add(name=f"sum_{number}")([x, keras.layers.Dense(width, name=f"out_{number}")(y)])
        if normalized:
            x = keras.layers.LayerNormalization(name=f"norm_{number}")(x)
    x = keras.layers.Flatten(name="steps")(x)
    return keras.Model(rows, keras.layers.Dense(classes, name="logits")(x))


def _split(model: keras.Model, samples: Array, labels: Array, *, epochs: int) -> Trained:
    """Four of five samples to train on."""
    name, cut = model.inputs[0].name, len(samples) * 4 // 5
    train, held_out = (
        {name: samples[part], "labels": labels[part].astype(np.int64)} for part in (slice(cut), slice(cut, None))
    )
    return _trained(model, train, held_out, epochs=epochs)


def _trained(model: keras.Model, train: dict[str, Array], held_out: dict[str, Array], *, epochs: int) -> Trained:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    model.fit(train[model.inputs[0].name], train["labels"], batch_size=64, epochs=epochs, verbose=0)
    return Trained(model, train, held_out)
