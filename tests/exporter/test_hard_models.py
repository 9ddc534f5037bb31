"""Models that made-up samples, generated names or a first export do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from attnexport.core import ArgumentError, GateError, ModelError, SamplesError, TensorSpec
from attnexport.exporter import AttentionConcatLayer, Endpoint, PresetConfig
from attnexport.workflows.export import export_saved_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

X = np.random.default_rng(0).standard_normal((4, 9, 4)).astype(np.float32)


def test_a_model_that_needs_long_sequences_gets_them(tmp_path: Path) -> None:
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling1D()(keras.layers.Conv1D(3, 20)(inputs)), name="m")
    result = export_saved_model(model, tmp_path)
    assert result.verdict
    assert result.notes == ()


def test_a_model_of_positive_numbers_needs_samples_and_takes_them(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.log(inputs), name="m")
    with pytest.raises(ModelError, match=r"with NaN or infinity .* give samples .* warmup=FILE"):
        export_saved_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = export_saved_model(model, tmp_path / "out", warmup={"input": np.abs(X[0])})
    assert result.warmup_records == 9 * len(result.saved_model.signatures)
    assert {finding.case for finding in result.verdict.findings} == {"9 warm-up samples"}
    with pytest.raises(SamplesError, match="do not suit the model: the original answers with NaN"):
        export_saved_model(model, tmp_path / "out", warmup={"input": -np.abs(X[0])})


def test_a_signature_that_nobody_can_compare_is_noted(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="m")
    numbers = Endpoint(
        "numbers",
        lambda tensors: {"number": tf.strings.to_number(tensors["text"])},
        (TensorSpec("text", "string", (None,)),),
    )
    result = export_saved_model(model, tmp_path, endpoints=[numbers])
    assert any("'numbers' cannot be compared: Keras fails" in note for note in result.notes)


def test_a_first_call_does_not_fix_the_batch_of_a_sequential_model(tmp_path: Path, described: Any) -> None:
    model = keras.Sequential([AttentionConcatLayer(), keras.layers.Dense(3)], name="m")
    model(X)
    model.save(tmp_path / "m.keras")
    for source in (model, tmp_path / "m.keras"):
        assert "(input: float32 [?, 9, 4])" in described(export_saved_model(source, tmp_path))["serving_default"]
    fixed = export_saved_model(model, tmp_path, batch=2)
    assert "[2, 9, 4]" in described(fixed)["serving_default"]


def test_stateful_layers_are_refused(tmp_path: Path) -> None:
    inputs = keras.Input(batch_shape=(2, 9, 4))
    model = keras.Model(inputs, keras.layers.LSTM(3, stateful=True, name="memory")(inputs), name="m")
    with pytest.raises(ModelError, match=r"layer 'memory' is stateful: .*stateful=False"):
        export_saved_model(model, tmp_path)


def test_recurrent_and_normalized_models_export(tmp_path: Path, run: Any) -> None:
    layers = [
        keras.Input((9, 4)),
        keras.layers.BatchNormalization(),
        keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True)),
        keras.layers.LayerNormalization(),
        AttentionConcatLayer(dropout=0.2, seed=1),
    ]
    model = keras.Sequential(layers, name="m")
    np.testing.assert_allclose(
        run(export_saved_model(model, tmp_path), {"input": X})["output"], model(X, training=False), rtol=0, atol=1e-5
    )


def test_scalars_are_exported_and_compared_without_a_batch(tmp_path: Path, run: Any) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [inputs * 2, keras.ops.mean(inputs)], name="m")
    result = export_saved_model(model, tmp_path)
    assert run(result, {"input": X[0]})["output_1"] == pytest.approx(X[0].mean(), abs=1e-6)

    class Module(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((), name="a"), tf.TensorSpec((2, None), name="q")])
        def two(self, a: Any, q: Any) -> Any:
            return {"y": a * q, "s": tf.reduce_sum(q)}

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.two})
    copied = export_saved_model(tmp_path / "saved", tmp_path / "out")
    assert copied.verdict
    assert copied.warmup_records == 0
    assert any("has a scalar" in note for note in copied.notes)
    for samples in (2, np.ones((2, 3)), {"a": np.ones(2)}):
        with pytest.raises(ArgumentError, match="need a batch dimension"):
            export_saved_model(tmp_path / "saved", tmp_path / "out", warmup=samples)


def test_names_of_others_are_kept_and_sparse_signatures_left_alone(tmp_path: Path, described: Any) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 3))
        sparse = v1.sparse_placeholder(tf.float32, (None, 3))
        make = v1.saved_model.signature_def_utils.predict_signature_def
        info = v1.saved_model.utils.build_tensor_info
        odd = make({"image/x": x}, {"y 1": x + 1})
        other = v1.saved_model.signature_def_utils.build_signature_def(
            {"s": info(sparse)}, {"d": info(tf.sparse.to_dense(sparse))}, "tensorflow/serving/predict"
        )
        builder = v1.saved_model.Builder(str(tmp_path / "odd"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": odd, "sparse": other})
        builder.save()
    result = export_saved_model(tmp_path / "odd", tmp_path / "out")
    assert described(result) == {"serving_default": "serving_default(image/x: float32 [?, 3]) -> (y 1: float32 [?, 3])"}


def _records(*logs: bytes) -> Any:
    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for log in logs:
                writer.write(log)

    return write


MULTI = prediction_log_pb2.PredictionLog()
MULTI.multi_inference_log.SetInParent()


@pytest.mark.parametrize(
    ("write", "records"),
    [
        (_records(MULTI.SerializeToString(), b""), 2),
        (_records(b"\xff\xff\xff"), "warm-up records are damaged at number 1"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "warm-up records are damaged"),
    ],
    ids=["other kinds", "garbage", "cut off"],
)
def test_warmup_records_of_others(tmp_path: Path, exported_classifier: Any, write: Any, records: Any) -> None:
    import shutil

    shutil.copytree(exported_classifier.path, tmp_path / "saved")
    write(tmp_path / "saved" / "assets.extra" / "tf_serving_warmup_requests")
    if isinstance(records, int):
        assert export_saved_model(tmp_path / "saved", tmp_path / "out").warmup_records == records
        return
    with pytest.raises(GateError, match=records):
        export_saved_model(tmp_path / "saved", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"signatures": "classify"},
        {"output_names": "logits"},
        {"output_names": [5]},
        {"labels": "abc"},
        {"labels": [1, 2, 3]},
        {"imports": "json"},
        {"name": 5},
    ],
    ids=str,
)
def test_texts_where_lists_are_wanted_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=r"must be a list of texts|not usable"):
        export_saved_model(PresetConfig(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
