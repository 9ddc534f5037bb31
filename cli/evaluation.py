"""How an artifact's scores do beside its original's, on samples of the user's choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from attnexport.core import SamplesError
from attnexport.parity import agreement, distance

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Evaluation:
    """The figures of an artifact.

    `sqnr_db` is None where nothing differs; `agreement` is the share of samples with the original's top-1 class,
    `accuracy` that of right ones, 0 to 1, both None where there are no classes or labels.
    """

    sqnr_db: float | None
    agreement: float | None
    accuracy: float | None


def evaluate(expected: Array, actual: Array, labels: Array | None = None) -> Evaluation:
    """Measure an output of the artifact.

    Args:
        expected: The original's, scores where they are `[n, classes]`.
        actual: The artifact's.
        labels: The right classes, `[n]`.

    Raises:
        SamplesError: where a label is no class.
    """
    figure = distance(expected, actual).sqnr_db
    sqnr = None if figure == float("inf") else figure
    if expected.ndim != 2 or expected.shape[1] < 2:
        return Evaluation(sqnr, None, None)
    if labels is not None:
        check_labels(labels, expected.shape[1])
    same = agreement(expected.argmax(axis=-1), actual)
    return Evaluation(sqnr, same, None if labels is None else agreement(labels, actual))


def check_labels(labels: np.ndarray[Any, Any], classes: int) -> None:
    """Refuse labels that are no classes.

    Raises:
        SamplesError: naming one of them.
    """
    wrong = labels[~np.isin(labels, np.arange(classes))]
    if len(wrong):
        raise SamplesError(f"labels must be classes, 0 to {classes - 1}; there is {wrong[0]}")
