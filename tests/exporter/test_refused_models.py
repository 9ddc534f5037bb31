"""Models of which no right artifact can be made: what is wrong is said with what would help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core import ArgumentError, ModelError
from attnexport.exporter import open_model
from attnexport.tflite.float_model import convert_float
from attnexport.workflows.convert import convert

pytestmark = pytest.mark.slow


def test_an_output_of_no_known_rank_is_named() -> None:
    class Unknown(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return tf.ensure_shape(tf.reshape(x, tf.boolean_mask(tf.shape(x), tf.shape(x) > 0)), None)

        def compute_output_spec(self, x: Any) -> Any:
            return keras.KerasTensor(x.shape, "float32")

    x = keras.Input((6,), name="x")
    with pytest.raises(ModelError, match=r"a layer's output has no known rank; give it one with tf\.ensure_shape"):
        open_model(keras.Model(x, keras.layers.Dense(3)(Unknown()(x))))


@pytest.mark.parametrize("shape", [(1, 4), (None, 4)])
def test_a_list_of_no_known_shape_is_named(shape: tuple[int | None, ...], tmp_path: Path) -> None:
    """TFLite's converter says so in two ways, of which neither speaks of lists."""

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])
    def collect(x: Any) -> Any:
        array = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=tf.TensorShape(None))
        for step in tf.range(4):
            array = array.write(step, x[:, step])
        return {"y": tf.ensure_shape(array.stack(), (4, shape[0]))}

    tf.saved_model.save(tf.Module(), tmp_path / "list", signatures=collect)
    with pytest.raises(ModelError, match=r"a loop keeps a list of tensors whose shape is not fixed.*unroll=True"):
        convert_float(tmp_path / "list")


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have")
def test_attention_that_keras_quantized_to_float8_is_said_to_be_unreadable(tmp_path: Path) -> None:
    x = keras.Input((6, 16), name="x")
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.MultiHeadAttention(2, 8)(x, x)))
    model.quantize("float8", filters=lambda layer: isinstance(layer, keras.layers.Dense | keras.layers.EinsumDense))
    model.save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"was quantized by Keras.*attention.*does not read back.*hand the model over"):
        open_model(tmp_path / "m.keras")


def test_a_tensor_without_elements_is_refused_before_samples_are_made(tmp_path: Path) -> None:
    x = keras.Input((4,), name="x")
    model = keras.Model(x, {"y": keras.layers.Dense(2)(x), "none": x[:, 4:]}, name="m")
    with pytest.raises(ArgumentError, match=r"a tensor without elements \(none: float32 \[1, 0\]\)"):
        convert(model, output=tmp_path)


def test_a_model_of_integers_alone_has_nothing_to_quantize(tmp_path: Path) -> None:
    x = keras.Input((6,), dtype="int32", name="x")
    samples = np.random.default_rng(0).integers(0, 9, (40, 6)).astype(np.int32)
    result = convert(
        keras.Model(x, keras.ops.mod(x, 3), name="m"), ["float32", "int8"], calibration=samples, output=tmp_path
    )
    assert [each.conversion.recipe.name for each in result.files] == ["float32"]
    assert "the model computes with integers alone, so float32 is the file to take" in str(result.rejected[0].error)
