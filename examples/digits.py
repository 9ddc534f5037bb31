"""Handwritten digits as sequences: two attention classifiers, trained on real data in seconds.

The data are scikit-learn's bundled digits: 1797 images of 8x8 (UCI ML hand-written digits, test set), each read as
8 steps (rows) of 8 features (pixels, scaled to 0..1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core.errors import ArgumentError
from attnexport.core.os_errors import writing
from attnexport.core.progress import Progress, silent
from attnexport.core.signature import Arrays

LABELS = tuple(str(digit) for digit in range(10))
INPUT = "rows"

ATTENTION, MULTIHEAD = "digits-attention", "digits-multihead"

HELD_OUT = 397


@dataclass(frozen=True)
class Digits:
    """The digits in two splits: images `[n, 8, 8]` in 0..1, and labels `[n]`."""

    train: Arrays
    held_out: Arrays


@dataclass(frozen=True)
class TrainedDigits:
    """The files that training wrote.

    Attributes:
        models: `.keras` files by model name.
        accuracies: Held-out accuracy of each model, 0 to 1.
        calibration: Samples of the training split.
        evaluation: Samples of the held-out split, with labels.
    """

    models: dict[str, Path]
    accuracies: dict[str, float]
    calibration: Path
    evaluation: Path


def load_digits() -> Digits:
    """Load the digits in a fixed split: 1400 for training, 397 held out.

    Raises:
        ArgumentError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ModuleNotFoundError as error:
        raise ArgumentError(
            "the digits are part of scikit-learn, which is not installed: pip install 'attnexport[examples]'"
        ) from error
    data = load()
    order = np.random.default_rng(0).permutation(len(data.target))
    images, labels = (data.images / 16).astype(np.float32)[order], data.target.astype(np.int64)[order]
    return Digits(
        {INPUT: images[:-HELD_OUT], "labels": labels[:-HELD_OUT]},
        {INPUT: images[-HELD_OUT:], "labels": labels[-HELD_OUT:]},
    )


def train_digits(directory: Path, *, epochs: int = 30, progress: Progress = silent) -> TrainedDigits:
    """Train both classifiers and write them with their samples to a directory.

    Args:
        directory: Directory to write.
        epochs: Epochs of training.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if scikit-learn is not installed.
        StorageError: if the directory cannot be written.
    """
    digits = load_digits()
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        calibration, evaluation = directory / "calibration.npz", directory / "evaluation.npz"
        np.savez(calibration, rows=digits.train[INPUT])
        np.savez(evaluation, rows=digits.held_out[INPUT], labels=digits.held_out["labels"])
    models, accuracies = {}, {}
    for name in (ATTENTION, MULTIHEAD):
        progress(f"training {name}")
        model, accuracies[name] = _train(name, digits, epochs)
        models[name] = directory / f"{name}.keras"
        with writing(models[name]):
            model.save(models[name])
    return TrainedDigits(models, accuracies, calibration, evaluation)


def _train(name: str, digits: Digits, epochs: int) -> tuple[Any, float]:
    import keras

    from attnexport.exporter.layers import AttentionConcatLayer, MultiHeadAttentionConcat

    keras.utils.set_random_seed(0)
    if name == MULTIHEAD:
        attention = MultiHeadAttentionConcat(num_heads=4, d_model=32, d_k=8, name="attention")
    else:
        attention = AttentionConcatLayer(d_k=8, name="attention")
    model = keras.Sequential(
        [
            keras.Input((8, 8), name=INPUT),
            attention,
            keras.layers.Dense(128, activation="relu", name="hidden"),
            keras.layers.Flatten(name="steps"),
            keras.layers.Dense(10, name="logits"),
        ],
        name=name.replace("-", "_"),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    model.fit(digits.train[INPUT], digits.train["labels"], batch_size=32, epochs=epochs, verbose=0)
    _, accuracy = model.evaluate(digits.held_out[INPUT], digits.held_out["labels"], verbose=0)
    return model, float(accuracy)
