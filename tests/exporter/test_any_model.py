"""Models that Keras or TensorFlow alone make no right artifact of: tables, adapters, state, scalars, free sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core import ArgumentError, ModelError
from attnexport.exporter import open_model
from attnexport.exporter.models.float32 import in_float32
from attnexport.workflows.convert import convert
from attnexport.workflows.export import export_saved_model
from attnexport.workflows.validate import validate

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]


def table() -> Any:
    keys, values = ["a", "b"], tf.constant([1, 2], tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0)


class Holder:
    """A plain object, of which TensorFlow's tracking knows nothing."""

    def __init__(self) -> None:
        self.table = table()


class Codes(keras.layers.Layer):  # type: ignore[misc]
    """A lookup in a table that is kept somewhere."""

    def __init__(self, kept: Any, find: Any, **options: Any) -> None:
        super().__init__(**options)
        self.kept, self.find = kept, find

    def call(self, words: Any) -> Any:
        return tf.cast(self.find(self.kept).lookup(words), tf.float32)

    def compute_output_spec(self, words: Any) -> Any:
        return keras.KerasTensor(words.shape, "float32")


def test_tables_are_found_wherever_they_are_kept_and_tried_with_words_they_have(tmp_path: Path, run: Any) -> None:
    mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)
    mutable.insert(["a", "b"], tf.constant([1, 2], tf.int64))
    words, holder = keras.Input((1,), dtype="string", name="words"), Holder()
    places = [
        Codes(table(), lambda kept: kept),
        Codes([table()], lambda kept: kept[0]),
        Codes({"t": table()}, lambda kept: kept["t"]),
        Codes(holder, lambda kept: kept.table),
        Codes(mutable, lambda kept: kept),
    ]
    model = keras.Model(words, [place(words) for place in places], name="m")
    result = export_saved_model(model, tmp_path)
    answers = run(result, {"words": np.array([["a"], ["b"], ["c"]], object)})
    assert [each.ravel().tolist() for each in answers.values()] == [[1, 2, 0]] * 5
    assert set(open_model(model, classify=False).words["words"]) == {b"a", b"b"}


def test_the_state_of_layers_goes_over_to_the_model_in_float32() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        norm = keras.layers.Normalization()
        norm.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)))
        dense = keras.layers.Dense(3)
        model = keras.Sequential([keras.Input((4,), dtype="float32"), norm, dense, keras.layers.BatchNormalization()])
    finally:
        keras.config.set_dtype_policy("float32")
    x = np.random.default_rng(1).normal(3, 2, (8, 4)).astype(np.float32)
    rebuilt = in_float32(model)
    assert rebuilt.layers[1].compute_dtype == "float32"
    np.testing.assert_allclose(rebuilt(x), model(x), atol=0.02)


def test_a_model_of_16_bits_that_only_rounds_is_refused(tmp_path: Path) -> None:
    """Far from 0, where bfloat16 has steps of 2; and a float32 model that casts by itself is held to 16 bits."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((6,), name="x", dtype="float32")
        hidden = keras.layers.LayerNormalization()(keras.layers.Dense(6)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(hidden), name="far")
    finally:
        keras.config.set_dtype_policy("float32")
    near = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    assert "computes in another precision" in " ".join(convert(model, calibration=near, output=tmp_path).notes)
    with pytest.raises(ModelError, match=r"inputs move by one step of bfloat16.*Scale its inputs"):
        convert(model, calibration=near + 300, output=tmp_path)
    narrow = keras.ops.cast(keras.ops.cast(inputs, "float16") * 3, "float32")
    casting = keras.Model(inputs, keras.layers.Dense(3)(narrow), name="casting")
    [file] = convert(casting, calibration=near, output=tmp_path).files
    assert file.conversion.verdict
    assert {tensor.dtype for each in file.conversion.graph.subgraphs for tensor in each.tensors} <= {"float32", "int32"}


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_weights_that_keras_quantized_are_dequantized_and_adapters_merged(mode: str) -> None:
    tokens = keras.Input((5,), dtype="int32")
    inner = keras.layers.Embedding(20, 8)(tokens)
    inner = keras.layers.EinsumDense("abc,cd->abd", (5, 8), bias_axes="d")(inner)
    model = keras.Model(tokens, keras.layers.Dense(3)(inner))
    model.quantize(mode)
    dense = model.layers[-1]
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(np.random.default_rng(0).normal(size=(2, 3)))
    x = np.random.default_rng(1).integers(0, 20, (16, 5)).astype(np.int32)
    expected, actual = np.asarray(model(x)), np.asarray(in_float32(model)(x))
    assert np.square(expected).sum() > 10 ** (25 / 10) * np.square(actual - expected).sum()


def _functional() -> Any:
    inputs = keras.Input((3,), name="x")
    return keras.Model(inputs, keras.layers.Dense(2)(inputs))


def test_a_scalar_beside_the_batch_is_converted(tmp_path: Path) -> None:
    x, factor = keras.Input((4,), name="x"), keras.Input(batch_shape=(), name="factor")
    model = keras.Model([x, factor], keras.layers.Dense(2)(x) * factor, name="m")
    samples = {"x": np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), "factor": np.float32(0.5)}
    assert convert(model, calibration=samples, output=tmp_path).files[0].conversion.verdict


def test_several_lengths_share_one_file_and_any_axis_can_be_fixed(tmp_path: Path) -> None:
    x = keras.Input((None, 3), name="x")
    model = keras.Model(x, keras.layers.Dense(300)(keras.layers.Dense(300)(x)), name="m")
    one, several = (
        convert(model, "dynamic", steps=steps, output=tmp_path, name=f"m{len(steps)}").files[0]
        for steps in ([8], [8, 4])
    )
    assert {name: each.inputs[0].shape for name, each in several.conversion.signatures.items()} == {
        "serving_default": (1, 8, 3),
        "steps_4": (1, 4, 3),
    }
    assert len(several.conversion.content) < 1.2 * len(one.conversion.content)
    samples = np.random.default_rng(0).normal(size=(9, 8, 3)).astype(np.float32)
    for evaluation, is_compared in ({"x": samples}, True), ({"x": samples[:, :3]}, False):
        verdict = validate(tmp_path / "m2", evaluation=evaluation)
        figures = {
            (each.runtime, each.signature): each.measured
            for each in verdict.verdict.checks
            if each.artifact == "tflite/1/m2.dynamic.tflite" and not each.is_edge
        }
        assert (("interpreter", "steps_4") in figures) == is_compared
        assert ("signature 'steps_4' is not compared: the samples are shorter" in verdict.notes) != is_compared
    image = keras.Input((8, None, 1), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(image))
    [file] = convert(keras.Model(image, pooled, name="i"), shapes={"image": (1, 8, 12, 1)}, output=tmp_path).files
    assert file.conversion.signatures["serving_default"].inputs[0].shape == (1, 8, 12, 1)


def test_a_version_that_other_clients_need_is_asked_for(tmp_path: Path) -> None:
    export_saved_model(_functional(), tmp_path, name="m")
    wider = keras.Input((5,), name="x")
    other = keras.Model(wider, keras.layers.Dense(2)(wider))
    with pytest.raises(ArgumentError, match=r"would swap one for the other: .* new_signature=True"):
        export_saved_model(other, tmp_path, name="m")
    assert export_saved_model(other, tmp_path, name="m", new_signature=True).entry.version == 2


def test_an_unnamed_model_never_becomes_a_version_of_another_by_accident(tmp_path: Path) -> None:
    """Keras calls every model without a name alike; of the same signatures, a server would swap one for the other."""
    model = _functional()
    model.name = "functional"
    first = export_saved_model(model, tmp_path)
    assert export_saved_model(model, tmp_path).entry.version == 2, "the very same model"
    other = _functional()
    other.name = "functional"
    with pytest.raises(ArgumentError, match=r"has a model already, and 'functional' is Keras's name .* pass name="):
        export_saved_model(other, tmp_path)
    assert export_saved_model(other, tmp_path, new_signature=True).entry.version == 3
    assert export_saved_model(other, tmp_path, name="other").directory != first.directory


def test_sparse_inputs_become_dense_and_complex_outputs_are_measured(tmp_path: Path) -> None:
    class Complex(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return tf.cast(x, tf.complex64)

        def compute_output_spec(self, x: Any) -> Any:
            return keras.KerasTensor(x.shape, "complex64")

    bag = keras.Input((12,), sparse=True, name="bag")
    model = keras.Model(bag, Complex()(keras.layers.Dense(3)(bag)), name="m")
    samples = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    result = convert(model, ["float32", "int8"], calibration=samples, output=tmp_path)
    assert "Keras takes 'bag' sparse" in " ".join(result.notes)
    exact, rounded = (file.conversion.verdict.worst.measured.sqnr_db for file in result.files)
    assert exact > 100
    assert 25 <= rounded < 80


class Doubled(keras.layers.Layer):  # type: ignore[misc]
    """Computes something else from ragged tensors."""

    def call(self, x: Any) -> Any:
        return tf.reduce_mean(x * 2 if isinstance(x, tf.RaggedTensor) else x, 1)

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor((x.shape[0], x.shape[2]), "float32")


class ToTensor(keras.layers.Layer):  # type: ignore[misc]
    """Takes ragged tensors alone."""

    def call(self, x: Any) -> Any:
        return x.to_tensor()

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape, x.dtype)


def test_ragged_inputs_become_rows_of_one_length(tmp_path: Path, run: Any) -> None:
    words = keras.Input((None,), ragged=True, name="words", dtype="int32")
    vectors = keras.layers.Embedding(5, 2)(words)
    model = keras.Model(words, keras.ops.mean(vectors, 1), name="m")
    result = export_saved_model(model, tmp_path)
    assert "Keras takes 'words' ragged; the exported signatures take rows of one length" in " ".join(result.notes)
    rows = np.random.default_rng(0).integers(0, 5, (3, 7)).astype(np.int32)
    [answer] = run(result, {"words": rows}).values()
    np.testing.assert_allclose(answer, model(tf.RaggedTensor.from_tensor(rows)), atol=1e-6)
    assert convert(result.directory, "float32", steps=7).files[0].conversion.verdict
    with pytest.raises(ModelError, match=r"something else from rows of one length than from the ragged 'words'"):
        open_model(keras.Model({"words": words}, Doubled()(vectors)))
    with pytest.raises(ModelError, match=r"cannot be called on rows of one length.* the ragged 'words'.*to_tensor"):
        open_model(keras.Model(words, ToTensor()(words)))


def test_a_model_that_mixes_the_samples_of_a_batch_is_noted(tmp_path: Path) -> None:
    x = keras.Input((6,), name="x")
    mixing = keras.Model(x, {"y": keras.layers.Dense(2)(x / keras.ops.max(x)), "x": x}, name="m")
    notes = export_saved_model(mixing, tmp_path).notes
    assert "output 'y' of a sample changes with the other samples of its batch: a server that joins" in " ".join(notes)


def test_nested_outputs_are_named_by_the_way_to_them(tmp_path: Path, described: Any) -> None:
    x = keras.Input((3,), name="x")
    dense = [keras.layers.Dense(units)(x) for units in (2, 4, 5)]
    outputs = {"head": {"one": dense[0], "two 2": dense[1]}, "more": [dense[2], (dense[0],)]}
    result = export_saved_model(keras.Model(x, outputs, name="m"), tmp_path)
    assert described(result)["serving_default"] == (
        "serving_default(x: float32 [?, 3]) -> (head_one: float32 [?, 2], head_two_2: float32 [?, 4], "
        "more_0: float32 [?, 5], more_1_0: float32 [?, 2])"
    )


def test_image_layers_on_integers_are_compared_as_predict_runs_them(tmp_path: Path) -> None:
    """Eagerly Keras rounds what Resizing makes of integers; in a graph, and so in every export, it does not."""
    x = keras.Input((9, 9, 3), dtype="uint8", name="pixels")
    resized = keras.layers.Rescaling(1 / 255)(keras.layers.Resizing(6, 6)(x))
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.Flatten()(resized)), name="m")
    result = export_saved_model(model, tmp_path)
    assert result.verdict
    assert "compared as predict runs it" in " ".join(result.notes)
    assert result.entry.artifact("keras") is not None
    assert validate(result.directory)


def test_a_quantized_model_that_keras_cannot_read_back_is_converted_from_its_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quantized_attention.py").write_text(
        "import keras\n"
        "def build():\n"
        "    keras.utils.set_random_seed(0)\n"
        "    x = keras.Input((6, 16), name='x')\n"
        "    y = keras.layers.Dense(3)(keras.layers.MultiHeadAttention(2, 8)(x, x))\n"
        "    model = keras.Model(x, y, name='q')\n"
        "    model.quantize('int8', filters=lambda layer: isinstance(layer, (keras.layers.Dense, "
        "keras.layers.EinsumDense)))\n"
        "    return model\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    exported = export_saved_model("quantized_attention:build", tmp_path / "export")
    assert exported.entry.artifact("keras") is None, "this Keras reads it back: the version could keep it"
    converted = convert(exported.directory, "float32")
    assert "was quantized by Keras (int8)" in " ".join(converted.notes)
    assert validate(exported.directory)
    model = __import__("quantized_attention").build()
    live = export_saved_model(model, tmp_path / "export", name="live")
    with pytest.raises(ModelError, match=r"was quantized by Keras \(int8\) and keeps no \.keras"):
        convert(live.directory, "float32")
    converted = convert(model, "float32", output=tmp_path / "export", name="live")
    assert converted.version == live.entry.version
    verdict = validate(live.directory)
    assert verdict, str(verdict)
    assert "are compared with the SavedModel, which computes as Keras quantized it" in " ".join(verdict.notes)
