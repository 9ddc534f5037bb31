"""Which of several outputs labels are of."""

from __future__ import annotations

import numpy as np
import pytest

from attnexport.core import ArgumentError, SamplesError
from attnexport.parity.labelled import judged_output

RANDOM = np.random.default_rng(0)
LABELS = np.arange(40) % 10
LOGITS = np.eye(10)[LABELS] + RANDOM.normal(size=(40, 10)) * 0.1
EMBEDDING = RANDOM.normal(size=(40, 16))
OTHER_HEAD = RANDOM.normal(size=(40, 10))
ATTENTION = RANDOM.normal(size=(40, 4, 10))


@pytest.mark.parametrize(
    ("outputs", "labels", "names", "expected"),
    [
        ({"embedding": EMBEDDING, "logits": LOGITS}, LABELS, (), "logits"),
        ({"a": OTHER_HEAD, "b": LOGITS}, LABELS, (), "b"),
        ({"a": EMBEDDING, "b": LOGITS}, LABELS % 3, (), "b"),  # labels of a few classes: the more often right
        ({"a": EMBEDDING, "b": LOGITS}, LABELS % 3, tuple("0123456789"), "b"),
        ({"a": ATTENTION, "b": LOGITS}, LABELS, (), "b"),
        ({"a": EMBEDDING, "b": LOGITS}, None, tuple("0123456789"), "b"),
        ({"a": EMBEDDING, "b": LOGITS}, None, (), "a"),
        ({"a": ATTENTION, "b": LOGITS[:, :1]}, LABELS, (), None),
    ],
)
def test_labels_are_of_the_output_whose_classes_they_fit(
    outputs: dict[str, np.ndarray], labels: np.ndarray | None, names: tuple[str, ...], expected: str | None
) -> None:
    assert judged_output(outputs, labels, class_names=names) == expected


def test_a_choice_is_obeyed_or_refused() -> None:
    outputs = {"embedding": EMBEDDING, "logits": LOGITS, "weights": ATTENTION}
    assert judged_output(outputs, LABELS, chosen="embedding") == "embedding"
    with pytest.raises(ArgumentError, match="no output 'logit'; did you mean 'logits'"):
        judged_output(outputs, LABELS, chosen="logit")
    with pytest.raises(ArgumentError, match=r"'weights' does not hold scores"):
        judged_output(outputs, chosen="weights")


def test_labels_that_fit_nothing_are_refused() -> None:
    with pytest.raises(SamplesError, match="0 to 15; received 16"):
        judged_output({"embedding": EMBEDDING, "logits": LOGITS}, np.full(40, 16))
