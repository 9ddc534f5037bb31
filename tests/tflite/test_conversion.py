"""Conversion: every recipe on every kind of model is right, or says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core import ArgumentError, GateError, ModelError, ParityError, Signature, TensorSpec, batched
from attnexport.exporter import MultiHeadAttentionConcat
from attnexport.parity import BUDGETS, distance
from attnexport.tflite import RECIPES, TFLiteRunner, convert, fix_shapes, prepare_calibration, read_calibration
from attnexport.tflite.gate import float_operators, weight_shares
from attnexport.tflite.recipes import LayerRule, Recipe

pytestmark = pytest.mark.slow

Convert = Callable[..., dict[str, Any]]
INTEGER = RECIPES["int8"].altered(integer_only=True)


def sqnr(model: Any, conversion: Any, inputs: dict[str, Any], signature: str = "serving_default") -> float:
    """Against Keras's own predict, not our Runner."""
    expected = model.predict(inputs if len(inputs) > 1 else next(iter(inputs.values())), verbose=0)
    actual = batched(TFLiteRunner(conversion.content), inputs, signature=signature)
    return distance(expected, next(iter(actual.values()))).sqnr_db


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_computes_what_keras_computes(
    name: str, conversions: dict[str, Any], multi_head: Any, samples: Any
) -> None:
    fresh = np.random.default_rng(2).standard_normal(samples.shape).astype(np.float32)
    figure = sqnr(multi_head, conversions[name], {"sequence": fresh})
    assert figure >= (BUDGETS[name].min_sqnr_db or 100) - 2  # a budget binds on samples like those calibrated with


def test_each_recipe_has_the_types_that_it_claims(conversions: dict[str, Any]) -> None:
    weights_by = {"float32": "float32", "float16": "float16", "int4": "int4"}
    for name in RECIPES:
        weights = weights_by.get(name, "int8")
        assert weight_shares(conversions[name].graph) == {weights: 1.0}
    sizes = {name: sum(each.constant_bytes for each in found.graph.constants) for name, found in conversions.items()}
    assert sizes["float16"] < 0.55 * sizes["float32"]
    assert sizes["int8"] < 0.4 * sizes["float32"]
    assert float_operators(conversions["int8"].graph).keys() == {"BATCH_MATMUL", "SOFTMAX", "TRANSPOSE", "RESHAPE"}
    assert float_operators(conversions["int8-integer-only"].graph) == {}
    assert conversions["int8-integer-only"].signatures["serving_default"].inputs[0].dtype == "int8"


def test_several_signatures_keep_their_names_and_share_their_weights(
    conversions: dict[str, Any], to_tflite: Convert, multi_head: Any, samples: Any
) -> None:
    alone = to_tflite(multi_head, "int8", samples)["int8"]
    both = conversions["int8"]
    assert set(both.signatures) == {"serving_default", "attention"}
    weights = sum(each.constant_bytes for each in both.graph.constants if each.dtype == "int8")
    assert weights == sum(each.constant_bytes for each in alone.graph.constants if each.dtype == "int8")
    attention = TFLiteRunner(both.content).run({"sequence": samples[:1]}, "attention")["attention_block"]
    np.testing.assert_allclose(attention.sum(axis=-1), 1, rtol=1e-5)


def test_the_same_data_in_any_order_and_number_gives_the_same_bytes(
    to_tflite: Convert, multi_head: Any, samples: Any, conversions: dict[str, Any]
) -> None:
    shuffled = np.concatenate([samples[::-1], samples[10:30]])
    found = to_tflite(multi_head, "int8", shuffled, signatures=("serving_default", "attention"))["int8"]
    assert found.content == conversions["int8"].content


def normalized(d: int = 16) -> keras.Model:
    inputs = keras.Input((12, d), name="sequence")
    x = MultiHeadAttentionConcat(2, d, d // 2)(keras.layers.LayerNormalization()(inputs))
    x = keras.layers.Dense(d)(x) + inputs
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.LayerNormalization()(x)))


@pytest.mark.parametrize("recipe", ["float16", "dynamic", "int8", "int16x8"])
def test_layer_normalization_works_by_every_recipe(recipe: str, to_tflite: Convert, samples: Any) -> None:
    """TFLiteConverter's 16x8 fails or dies at run time on it."""
    model = normalized()
    found = to_tflite(model, recipe, samples)[recipe]
    assert sqnr(model, found, {"sequence": samples[:20]}) >= (BUDGETS[recipe].min_sqnr_db or 0)


def test_integer_only_lists_what_stays_float(to_tflite: Convert, samples: Any) -> None:
    """Keras's LayerNormalization has no fully integer form."""
    with pytest.raises(
        GateError, match=r"not every operator is integer; in float compute .*NEG.*\(a LayerNormalization as"
    ):
        to_tflite(normalized(), INTEGER, samples)


def test_masks_and_integer_inputs(to_tflite: Convert) -> None:
    """An embedding with a padding mask, whose -1e9 would use up an int8 scale."""
    inputs = keras.Input((10,), dtype="int32", name="tokens")
    x = keras.layers.Embedding(50, 16, mask_zero=True)(inputs)
    x = MultiHeadAttentionConcat(2, 16, 8)(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling1D()(x)))
    tokens = np.random.default_rng(0).integers(1, 50, (80, 10)).astype(np.int32)
    for row, length in zip(tokens, np.random.default_rng(1).integers(2, 11, 80), strict=True):
        row[length:] = 0
    found = to_tflite(model, ["float32", "float16", "dynamic", "int8", "int16x8", "int4"], tokens)
    for name, least in (("float32", 100), ("dynamic", 25), ("int8", 25)):
        assert sqnr(model, found[name], {"tokens": tokens[:30]}) >= least
        assert found[name].signatures["serving_default"].inputs[0].dtype == "int32"
    assert weight_shares(found["int8"].graph) == {"int8": 1.0}
    weights = [each for graph, one in found["dynamic"].graph.operators for each in graph.weights(one)]
    assert {np.prod(each.shape) <= 1024 for each in weights if each.dtype == "float32"} == {True}, "small ones stay"
    assert found["dynamic"].notes == found["int4"].notes == ()


def test_two_inputs_and_two_outputs(to_tflite: Convert) -> None:
    left, right = keras.Input((6, 8), name="left"), keras.Input((6, 8), name="right")
    joined = keras.layers.Concatenate()([keras.layers.Dense(8)(left), keras.layers.Dense(8)(right)])
    first, second = keras.layers.Dense(3, name="first")(joined), keras.layers.Dense(2, name="second")(joined)
    model = keras.Model([left, right], [first, second])
    rng = np.random.default_rng(0)
    data = {name: rng.standard_normal((200, 6, 8)).astype(np.float32) for name in ("left", "right")}
    found = to_tflite(model, "int8", data)["int8"]
    expected = model.predict([data["left"], data["right"]], verbose=0)
    actual = batched(TFLiteRunner(found.content), data)
    for name, array in zip(("first", "second"), expected, strict=True):
        assert distance(array, actual[name]).sqnr_db >= 25


def test_a_given_batch(to_tflite: Convert, multi_head: Any, samples: Any) -> None:
    found = to_tflite(multi_head, "int8", samples, batch=4)["int8"]
    assert found.signatures["serving_default"].inputs[0].shape == (4, 12, 16)
    assert sqnr(multi_head, found, {"sequence": samples[:7]}) >= 25


class Determinant(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return tf.linalg.det(x)


class Doubled(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return tf.cast(2 * tf.cast(x, tf.float64), tf.float32)


def test_a_kernel_for_float32_alone_is_told_so(to_tflite: Convert) -> None:
    inputs, data = keras.Input((4,), name="x"), np.arange(160, dtype=np.float32).reshape(40, 4)
    with pytest.raises(ModelError, match=r"for Mul of float64 in '.*twice.*'; cast to float32 before it, or allow"):
        to_tflite(keras.Model(inputs, Doubled(name="twice")(inputs)), "float32", data)


def test_an_operator_without_a_kernel_is_named_with_its_layer(to_tflite: Convert) -> None:
    inputs = keras.Input((4, 4), name="matrix")
    model = keras.Model(inputs, Determinant(name="volume")(inputs))
    data = np.random.default_rng(0).standard_normal((40, 4, 4)).astype(np.float32)
    with pytest.raises(ModelError, match=r"no TFLite kernel for MatrixDeterminant in '.*volume.*'.*allow_flex=True"):
        to_tflite(model, "float32", data)
    found = to_tflite(model, "float32", data, allow_flex=True)["float32"]
    assert found.graph.flex_operators == ["FlexMatrixDeterminant"]
    assert "outputs were not compared" in found.notes[0]
    with pytest.raises(ModelError, match="runs the model to calibrate it"):
        to_tflite(model, "int8", data, allow_flex=True)


def test_a_model_over_2_gb_is_refused_before_it_is_converted(tmp_path: Path, exported_classifier: Any) -> None:
    """A flatbuffer's offsets are 32 bits."""
    from attnexport.tflite.float_model import convert_float

    copy = tmp_path / "large"
    (copy / "variables").mkdir(parents=True)
    (copy / "saved_model.pb").write_bytes((exported_classifier.path / "saved_model.pb").read_bytes())
    with (copy / "variables" / "variables.data-00000-of-00001").open("wb") as file:
        file.truncate(2**31)  # sparse: it takes no room
    with pytest.raises(ModelError, match=r"2\.1 GB.*at most 2 GB"):
        convert_float(copy)


def test_a_size_limit_and_a_budget_are_gates(to_tflite: Convert, multi_head: Any, samples: Any, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"max_size allows 1,000"):
        to_tflite(multi_head, "int8", samples, max_size=1000)
    strict = Recipe("strict", "int4", "dynamic", min_sqnr_db=90.0)
    with pytest.raises(ParityError, match=r"SQNR .* dB \(90 dB needed\).*kept for inspection as") as caught:
        to_tflite(multi_head, strict, samples, keep_failed=tmp_path / "failed")
    assert str(tmp_path / "failed" / "strict.failed.tflite") in str(caught.value)
    assert (tmp_path / "failed" / "strict.failed.tflite").read_bytes()[4:8] == b"TFL3"


def test_what_is_kept_float_stays_float(to_tflite: Convert, multi_head: Any, samples: Any) -> None:
    found = to_tflite(multi_head, RECIPES["int8"].altered(keep_float=["hidden"]), samples)["int8"]
    shares = weight_shares(found.graph)
    assert shares["float32"] == pytest.approx(32 * 32 / (4 * 16 * 16 + 32 * 32 + 32 * 10))
    with pytest.raises(ModelError, match="keep_float 'nowhere' matches no operator; there is BATCH_MATMUL"):
        to_tflite(multi_head, RECIPES["int8"].altered(keep_float=["nowhere"]), samples)


def test_layers_have_a_precision_of_their_own(to_tflite: Convert, multi_head: Any, samples: Any) -> None:
    rules = (LayerRule("hidden", "float16"), LayerRule("^StatefulPartitionedCall", "int8", "dynamic"))
    mixed = Recipe("mixed", "int4", "dynamic", ("w_o",), layers=rules, min_sqnr_db=5)
    shares = weight_shares(to_tflite(multi_head, mixed, samples)["mixed"].graph)
    whole = 4 * 16 * 16 + 32 * 32 + 32 * 10
    wanted = {"int4": 3 * 16 * 16, "float32": 16 * 16, "float16": 32 * 32, "int8": 32 * 10}
    assert shares == pytest.approx({name: elements / whole for name, elements in wanted.items()})
    with pytest.raises(ModelError, match="layers 'nowhere' matches no operator"):
        to_tflite(multi_head, replace(mixed, layers=(LayerRule("nowhere", "int8"),)), samples)


def test_other_samples_than_a_recipe_was_found_with_are_told(to_tflite: Convert, multi_head: Any, samples: Any) -> None:
    found = to_tflite(multi_head, replace(RECIPES["int8"], calibrated_on="sha256:other"), samples)["int8"]
    assert "the recipe was found with other calibration samples" in " ".join(found.notes)


def test_nothing_to_quantize_is_said(to_tflite: Convert, samples: Any) -> None:
    from attnexport.exporter import AttentionConcatLayer

    model = keras.Sequential([keras.Input(samples.shape[1:], name="sequence"), AttentionConcatLayer(16)])
    with pytest.raises(GateError, match="nothing in it is computed in int8"):
        to_tflite(model, "int8", samples)


def test_a_saved_model_is_fixed_and_converted_without_keras(exported_classifier: Any, tmp_path: Path) -> None:
    from attnexport.exporter import SavedModelRunner

    runner = SavedModelRunner(exported_classifier.path)
    fixed = fix_shapes(
        exported_classifier.path, tmp_path / "fixed", runner.signatures, ["serving_default", "attention"]
    )
    specs = fixed["serving_default"].inputs
    assert specs[0].shape == (1, 10, 64)
    data = np.random.default_rng(0).standard_normal((60, 10, 64)).astype(np.float32)
    calibration = prepare_calibration(read_calibration(data, specs), specs)
    found = convert(tmp_path / "fixed", RECIPES["int8"], calibration, reference=runner, signatures=fixed)[0]
    assert set(found.signatures) == {"serving_default", "attention"}
    with pytest.raises(ArgumentError, match=r"there is no signature 'scores'.*'attention', 'classify'"):
        fix_shapes(exported_classifier.path, tmp_path / "x", runner.signatures, ["scores"])
    with pytest.raises(ArgumentError, match=r"signature 'classify' has strings"):
        fix_shapes(exported_classifier.path, tmp_path / "x", runner.signatures, ["classify"])
    with pytest.raises(ArgumentError, match="steps cannot be 7"):
        fix_shapes(exported_classifier.path, tmp_path / "x", runner.signatures, ["serving_default"], steps=7)
    runner.close()


def test_free_steps_are_refused_with_the_way_out(tmp_path: Path, exported_classifier: Any) -> None:
    free = Signature(
        "serving_default", (TensorSpec("x", "float32", (None, None, 4)),), (TensorSpec("y", "float32", (None, 4)),)
    )
    with pytest.raises(ArgumentError, match=r"has shape \[1, \?, 4\].*fix the steps with steps=N"):
        fix_shapes(exported_classifier.path, tmp_path / "x", {"serving_default": free}, ["serving_default"])
    image = Signature("serving_default", (TensorSpec("x", "float32", (None, None, None, 3)),), free.outputs)
    with pytest.raises(ArgumentError, match=r"fix them with shapes=\{'x': \(1, N, M, 3\)\}, a number for each"):
        fix_shapes(exported_classifier.path, tmp_path / "x", {"serving_default": image}, ["serving_default"])


def test_signatures_of_other_inputs_cannot_share_a_calibration(to_tflite: Convert, multi_head: Any) -> None:
    spec = TensorSpec("other", "float32", (1, 3))
    other = {"serving_default": Signature("serving_default", (spec,), (spec,))}
    data = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    calibration = prepare_calibration(read_calibration({"mine": data}, [TensorSpec("mine", "float32", (None, 3))]), [])
    with pytest.raises(ArgumentError, match="takes other, and the calibration samples have mine"):
        convert(Path("nowhere"), RECIPES["int8"], calibration, reference=None, signatures=other)  # type: ignore[arg-type]


def test_loops_stay_float_and_what_is_outside_is_quantized(to_tflite: Convert) -> None:
    inputs = keras.Input((9, 6), name="x")
    model = keras.Model(inputs, keras.layers.Dense(16)(keras.layers.Dense(64)(keras.layers.LSTM(8)(inputs))))
    data = np.random.default_rng(0).standard_normal((100, 9, 6)).astype(np.float32)
    for name, found in to_tflite(model, ["float32", "dynamic", "int8", "int16x8"], data).items():
        assert sqnr(model, found, {"x": data[:30]}) >= (BUDGETS[name].min_sqnr_db or 100) - 1
    unrolled = keras.Sequential(
        [keras.Input((9, 6), name="x"), keras.layers.LSTM(8, unroll=True), keras.layers.Dense(3)]
    )
    assert to_tflite(unrolled, "int8", data)["int8"].verdict


def test_later_samples_may_go_beyond_those_looked_at(to_tflite: Convert) -> None:
    """An output of few values: the extremes of 80 samples are soon exceeded, which int16 has room for."""
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(16, activation="relu")(inputs)))
    data = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    found = to_tflite(model, ["int8", "int16x8"], data)
    fresh = np.random.default_rng(5).standard_normal((1000, 4)).astype(np.float32)
    assert sqnr(model, found["int16x8"], {"x": fresh}) >= 40


def test_one_recipe_that_fails_does_not_take_the_others_along(
    to_tflite: Convert, multi_head: Any, samples: Any
) -> None:
    rejected: list[Any] = []
    strict = Recipe("strict", "int4", "dynamic", min_sqnr_db=90.0)
    found = to_tflite(multi_head, ["float16", strict, "dynamic"], samples, rejected=rejected)
    assert list(found) == ["float16", "dynamic"]
    assert [each.recipe.name for each in rejected] == ["strict"]
    assert isinstance(rejected[0].error, ParityError)


def test_any_signature_can_be_converted_alone(to_tflite: Convert, multi_head: Any, samples: Any) -> None:
    found = to_tflite(multi_head, ["float32", "int8"], samples, signatures=("serving_default", "attention"))
    assert set(found["int8"].signatures) == {"serving_default", "attention"}
