"""Quantized inputs and outputs, and integers among floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from attnexport.tflite import RECIPES, inspect_tflite

Convert = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(("io", "expected"), [("int8", "int8"), ("uint8", "uint8")])
def test_inputs_and_outputs_have_the_type_asked_for(
    io: str, expected: str, to_tflite: Convert, multi_head: Any, samples: Any
) -> None:
    found = to_tflite(multi_head, RECIPES["int8"].altered(io=io), samples)[f"int8-io-{io}"]
    signature = found.signatures["serving_default"]
    assert (signature.inputs[0].dtype, signature.outputs[0].dtype) == (expected, expected)
    assert found.verdict.worst.measured.sqnr_db >= 25
    runner = Interpreter(model_content=found.content).get_signature_runner("serving_default")
    told = {
        name: tuple(detail["quantization"])
        for details in (runner.get_input_details(), runner.get_output_details())
        for name, detail in details.items()
    }
    assert inspect_tflite(found.content).signatures[0].quantization == told


def test_int16_inputs_and_outputs(to_tflite: Convert, multi_head: Any, samples: Any) -> None:
    found = to_tflite(multi_head, RECIPES["int16x8"].altered(io="int16"), samples)["int16x8-io-int16"]
    assert found.signatures["serving_default"].inputs[0].dtype == "int16"
    assert found.verdict.worst.measured.sqnr_db >= 40


@pytest.fixture(scope="module")
def with_labels() -> Any:
    """A classifier that gives scores, shares and labels, the last two made from the first."""
    import keras

    x, key = keras.Input((12, 16), name="x"), keras.Input((1,), dtype="int64", name="key")
    scores = keras.layers.Dense(40)(x)
    outputs = {
        "label": keras.ops.argmax(scores, axis=-1),
        "share": keras.ops.softmax(scores),
        "score": scores,
        "echo": x,
        "key": key,
    }
    return keras.Model([x, key], outputs, name="labels")


def test_scores_beside_what_is_made_of_them(to_tflite: Convert, with_labels: Any, samples: Any) -> None:
    """litert-quantizer leaves such an output's signature with integers; Keras's arg max asks for the bits of a sign."""
    recipes = [RECIPES["float32"], *(RECIPES["int8"].altered(io=io) for io in ("float32", "int8", "uint8"))]
    keys = np.arange(len(samples))[:, None]
    expected = {name: np.asarray(each) for name, each in with_labels([samples[64:], keys[64:]]).items()}
    for recipe, found in to_tflite(with_labels, recipes, {"x": samples, "key": keys}).items():
        runner = Interpreter(model_content=found.content).get_signature_runner()
        taken, given = runner.get_input_details()["x"], runner.get_output_details()
        rows = [
            runner(x=_as_integers(each[None], taken), key=key[None])
            for each, key in zip(samples[64:], keys[64:], strict=True)
        ]
        actual = {name: _as_floats(np.concatenate([row[name] for row in rows]), given[name]) for name in expected}
        most = 1e-10 if recipe == "float32" else 10**-2.5
        for name in ("score", "share", "echo"):
            noise = np.square(actual[name] - expected[name]).sum()
            assert noise <= most * np.square(expected[name]).sum(), (recipe, name)
        assert (actual["label"] == actual["score"].argmax(-1)).all()
        assert (actual["key"] == keys[64:]).all()


def test_the_arg_max_tells_negative_zero_from_zero_as_keras_does(to_tflite: Convert) -> None:
    import keras

    x = keras.Input((3,), name="x")
    model = keras.Model(x, {"most": keras.ops.argmax(x, axis=-1), "sign": keras.ops.signbit(x)}, name="zeros")
    zeros = np.array([[-0.0, 0.0, -0.0], [0.0, -0.0, 0.0], [-1.0, -0.0, -2.0], [2.0, 1.0, -3.0]], np.float32)
    found = to_tflite(model, "float32", np.repeat(zeros, 5, axis=0))["float32"]
    runner = Interpreter(model_content=found.content).get_signature_runner()
    rows = [runner(x=each[None]) for each in zeros]
    assert [int(row["most"][0]) for row in rows] == [1, 0, 1, 0]
    assert (np.concatenate([row["sign"] for row in rows]) == np.signbit(zeros)).all()


def test_numbers_that_become_categories_are_not_rounded(to_tflite: Convert) -> None:
    """An int8 scale makes 2.98 of category 3, and the cast 2, another row of the table."""
    import keras

    rng, x = np.random.default_rng(0), keras.Input((4,), name="x")
    row = keras.layers.Embedding(12, 8)(keras.ops.cast(keras.layers.Reshape((1,))(x[:, :1]), "int32"))
    code = keras.layers.CategoryEncoding(12, output_mode="one_hot")(x[:, 1:2])
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(row), code, keras.layers.Dense(8)(x[:, 2:])])
    model = keras.Model(x, keras.layers.Dense(3)(hidden), name="categories")
    samples = np.concatenate([rng.integers(0, 12, (80, 2)), rng.normal(size=(80, 2))], axis=1).astype(np.float32)
    for found in to_tflite(model, ["int8", "int16x8"], samples).values():
        runner = Interpreter(model_content=found.content).get_signature_runner()
        actual = np.concatenate([next(iter(runner(x=each[None]).values())) for each in samples])
        expected = np.asarray(model(samples))
        assert (np.abs(actual - expected).max(axis=1) < 0.1 * np.abs(expected).max()).all()


def _as_integers(array: Any, detail: Any) -> Any:
    scale, zero = detail["quantization"]
    if not scale:
        return array
    bounds = np.iinfo(detail["dtype"])
    return np.clip(np.round(array / scale) + zero, bounds.min, bounds.max).astype(detail["dtype"])


def _as_floats(array: Any, detail: Any) -> Any:
    scale, zero = detail["quantization"]
    return (array.astype(np.float32) - zero) * scale if scale else array
