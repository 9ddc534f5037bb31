"""Presets: seeded, sized by arguments, and the shapes that the README promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnexport.core import ArgumentError, ContentError
from attnexport.exporter import build_model


@pytest.mark.parametrize(
    ("sizes", "output"),
    [
        ({}, (None, 10, 10)),
        ({"pooling": "average"}, (None, 10)),
        ({"pooling": "max", "steps": None}, (None, 10)),
        ({"pooling": "flatten", "classes": 3}, (None, 3)),
        ({"preset": "multihead-classifier", "steps": None}, (None, None, 10)),
        ({"preset": "attention"}, (None, 10, 128)),
        ({"preset": "multihead", "num_heads": 4, "d_model": 32, "d_k": 8, "features": 6}, (None, 10, 38)),
    ],
)
def test_presets_have_the_shapes_asked_for(sizes: dict[str, Any], output: tuple[int | None, ...]) -> None:
    model = build_model(**sizes)
    assert model.output_shape == output
    assert model.inputs[0].name == "sequence"


def test_the_default_is_the_classifier_of_the_readme() -> None:
    model = build_model()
    assert model.input_shape == (None, 10, 64)
    attention, hidden, logits = model.layers
    assert (attention.d_k, hidden.units, hidden.activation.__name__, logits.units) == (64, 128, "relu", 10)


def test_the_same_call_gives_the_same_weights() -> None:
    first, second, other = (build_model("multihead-classifier", seed=seed) for seed in (5, 5, 6))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [w for w in first.get_weights() if w.ndim > 1]
    assert all(np.any(a != b) for a, b in zip(kernels, [w for w in other.get_weights() if w.ndim > 1], strict=True))
    assert all(np.any(a != b) for i, a in enumerate(kernels) for b in kernels[:i] if a.shape == b.shape)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"preset": "clasifier"}, "did you mean 'classifier'"),
        ({"pooling": "mean"}, "there is 'average', 'max' or 'flatten'"),
        ({"steps": 0}, "steps must be a whole number of at least 1; received 0"),
        ({"features": -3}, "features must be"),
        ({"d_k": 0}, "d_k must be"),
        ({"classes": 2.5}, "classes must be"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"pooling": "flatten", "steps": None}, "needs a fixed number of steps"),
        ({"preset": "attention", "pooling": "max"}, "nothing to pool"),
        ({"preset": "multihead", "num_heads": 5}, "num_heads a divisor of 64"),
    ],
)
def test_what_cannot_be_built_is_said(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        build_model(**sizes)


@pytest.mark.parametrize(
    "sizes",
    [
        {"units": 10**9},
        {"pooling": "flatten", "steps": 10**4, "units": 10**4, "classes": 100},
        {"preset": "multihead", "features": 2**18, "d_model": 2**18},
    ],
)
def test_what_takes_too_much_memory_is_refused_before_it_is_built(sizes: dict[str, Any]) -> None:
    with pytest.raises(ContentError, match=r"of these sizes cannot be built: its weights would take more than 17,179"):
        build_model(**sizes)
