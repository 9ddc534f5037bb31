"""What Keras's masks and grouped queries become where every operator is to be an integer one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from attnexport.tflite import RECIPES, TFLiteRunner
from attnexport.tflite.gate import float_operators
from attnexport.tflite.graph import read_graph
from attnexport.tflite.integer_forms import with_integer_forms

STEPS = 10

# Keras's own, of grouped queries on padded steps.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning")


def padded(attention: Callable[[Any], Any]) -> keras.Model:
    """Tokens with padding; Keras pools by a cast of the mask."""
    tokens = keras.Input((STEPS,), dtype="int32", name="tokens")
    x = attention(keras.layers.Embedding(40, 16, mask_zero=True)(tokens))
    return keras.Model(tokens, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling1D()(x)))


@pytest.fixture(scope="module")
def tokens() -> np.ndarray[Any, Any]:
    """Sequences of all lengths."""
    random = np.random.default_rng(0)
    ids = random.integers(1, 40, (60, STEPS))
    return np.where(np.arange(STEPS) < random.integers(1, STEPS + 1, (60, 1)), ids, 0).astype(np.int32)


@pytest.mark.parametrize(
    "attention",
    [
        lambda x: keras.layers.MultiHeadAttention(2, 8)(x, x),
        lambda x: keras.layers.GroupQueryAttention(8, 4, 2)(x, x),
    ],
    ids=["multi-head", "grouped-query"],
)
def test_padded_layers_of_keras_are_all_integer(
    attention: Callable[[Any], Any], tokens: Any, to_tflite: Callable[..., Any]
) -> None:
    integer = RECIPES["int8"].altered(integer_only=True)
    [found] = to_tflite(padded(attention), integer, tokens).values()
    assert float_operators(read_graph(found.content)) == {}
    assert found.verdict


def test_the_forms_compute_the_same(tokens: Any, to_tflite: Callable[..., Any]) -> None:
    model = padded(lambda x: keras.layers.GroupQueryAttention(8, 4, 2)(x, x))
    [found] = to_tflite(model, "float32", tokens).values()
    changed = with_integer_forms(found.content)
    before, after = ({operator.name for _, operator in read_graph(each).operators} for each in (found.content, changed))
    assert {"TILE", "CAST"} <= before
    assert after & {"TILE", "CAST"} == set()
    one, other = (TFLiteRunner(each).run({"tokens": tokens[:1]}) for each in (found.content, changed))
    np.testing.assert_array_equal(*(next(iter(each.values())) for each in (one, other)))
    assert with_integer_forms(changed) == changed
