"""Reading what a .tflite computes on its way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnexport.core import ArgumentError, batched
from attnexport.tflite import TFLiteRunner
from attnexport.tflite.tracer import TFLiteTracer


@pytest.mark.parametrize("recipe", ["float32", "int8", "int16x8"])
def test_the_last_tensor_is_the_output_and_integers_are_what_they_mean(
    recipe: str, conversions: Any, samples: Any
) -> None:
    content, inputs = conversions[recipe].content, {"sequence": samples[:5]}
    tracer = TFLiteTracer(content)
    found = tracer.trace(inputs)
    assert {each.dtype for each in found.values()} == {np.dtype(np.float32)}
    last = next(reversed(found))
    np.testing.assert_array_equal(found[last], batched(TFLiteRunner(content), inputs)["logits"])
    scores = next(each for name, each in found.items() if "/Softmax" in name)
    assert scores.shape == (5, 4, 12, 12)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, atol=1e-4)
    assert last in tracer.sources()
    assert set(tracer.sources()) <= set(found) | {name for name, _ in tracer.computed("serving_default")}


def test_another_signature_is_read_in_its_own_subgraph(conversions: Any, samples: Any) -> None:
    content, inputs = conversions["float32"].content, {"sequence": samples[:3]}
    tracer = TFLiteTracer(content)
    weights = batched(TFLiteRunner(content), inputs, signature="attention")["attention_block"]
    found = tracer.trace(inputs, "attention")
    assert any(each.shape == weights.shape and np.array_equal(each, weights) for each in found.values())
    with pytest.raises(ArgumentError, match="'nope'"):
        tracer.trace(inputs, "nope")


def test_a_batch_is_filled_up_and_cut_again(to_tflite: Any, multi_head: Any, samples: Any) -> None:
    single, four = (to_tflite(multi_head, "float32", samples, batch=n)["float32"].content for n in (1, 4))
    inputs = {"sequence": samples[:6]}
    found = [list(TFLiteTracer(content).trace(inputs).values()) for content in (single, four)]
    for one, other in zip(*(each[-3:] for each in found), strict=True):
        np.testing.assert_allclose(one.reshape(6, -1), other.reshape(6, -1), atol=1e-5)
