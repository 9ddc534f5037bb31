"""What is said to help a recipe whose file has too little SQNR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from attnexport.tflite import RECIPES, Rejected


def rejected(to_tflite: Callable[..., Any], model: Any, recipe: Any, samples: Any) -> Rejected:
    """The recipe's failure."""
    failed: list[Rejected] = []
    assert to_tflite(model, recipe, samples, rejected=failed) == {}
    [found] = failed
    return found


def test_more_samples_are_not_advised_where_the_weights_are_the_limit(
    to_tflite: Callable[..., Any], multi_head: Any, samples: Any
) -> None:
    found = rejected(to_tflite, multi_head, RECIPES["int16x8"].altered(min_sqnr_db=70), samples)
    assert found.advice.startswith("int8 weights alone, with float activations, leave ")
    assert "use float16, or recipes='auto', min_sqnr_db=70" in found.advice


def test_one_step_for_ages_and_incomes_is_named(to_tflite: Callable[..., Any]) -> None:
    units = np.array([40.0, 50000.0, 1.0], np.float32)
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32) * units
    inputs = keras.Input((3,), name="x")
    normal = keras.layers.Rescaling((1 / units).tolist())(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(8, activation="tanh")(normal)))
    found = rejected(to_tflite, model, RECIPES["int8"].altered(io="int8"), x)
    assert "input 'x' has columns of very different ranges, and int8 inputs have one step for all" in found.advice


def test_weights_that_are_the_limit_are_fitted_to_the_users_samples(
    to_tflite: Callable[..., Any], tmp_path: Path
) -> None:
    """The sum of correlated features: integers whose errors cancel keep what rounding to the nearest loses."""
    random = np.random.default_rng(0)
    x = (random.normal(size=(200, 4)) @ random.normal(size=(4, 48)) + 3).astype(np.float32)
    keras.utils.set_random_seed(3)
    inputs = keras.Input((48,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(24)(inputs)))
    recipe = RECIPES["int16x8"].altered(min_sqnr_db=56)
    [(_, found)] = to_tflite(model, recipe, x, keep_failed=tmp_path).items()
    assert found.weight_algorithm == "gptq"
    assert found.recipe == recipe
    assert found.notes[-1].startswith("int16x8 has too little SQNR with weights that are rounded to the nearest")
    assert not list(tmp_path.iterdir())


def test_a_model_that_mixes_its_batch_is_said_to(to_tflite: Callable[..., Any]) -> None:
    x = keras.Input((6,), name="x")
    samples = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    for mixed in (x - keras.ops.mean(x, 0, keepdims=True), x / keras.ops.max(keras.ops.abs(x))):
        found = rejected(to_tflite, keras.Model(x, keras.layers.Dense(2)(mixed)), RECIPES["float32"], samples)
        assert "of a sample changes with the other samples of its batch, of which a .tflite takes one" in found.advice


def test_a_decision_that_is_given_as_floats_is_named(to_tflite: Callable[..., Any]) -> None:
    x = keras.Input((6,), name="x")
    model = keras.Model(x, {"sign": keras.ops.sign(keras.layers.Dense(6)(x) - 0.1)})
    samples = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    found = rejected(to_tflite, model, RECIPES["int8"].altered(min_sqnr_db=60), samples)
    assert "output 'sign' holds only -1, 0 and 1" in found.advice
