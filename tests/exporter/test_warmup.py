"""Warm-up records: requests that TF Serving can replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from attnexport.core import ArgumentError, SamplesError
from attnexport.exporter import PresetConfig
from attnexport.workflows.export import export_saved_model

X = np.random.default_rng(0).standard_normal((5, 10, 64)).astype(np.float32)


def records(result: Any) -> list[Any]:
    path = result.path / "assets.extra" / "tf_serving_warmup_requests"
    if not path.exists():
        return []
    return [
        prediction_log_pb2.PredictionLog.FromString(each)
        for each in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]


def test_warmup_records_are_requests_for_every_signature(exported_classifier: Any) -> None:
    logs = records(exported_classifier)
    assert len(logs) == exported_classifier.warmup_records == 9
    predict = [log.predict_log.request for log in logs if log.WhichOneof("log_type") == "predict_log"]
    assert [each.model_spec.signature_name for each in predict] == ["serving_default"] * 3 + ["attention"] * 3
    assert predict[0].inputs["sequence"].dtype == tf.float32.as_datatype_enum
    assert [each.size for each in predict[0].inputs["sequence"].tensor_shape.dim] == [1, 10, 64]
    classify = [log.classify_log.request for log in logs if log.WhichOneof("log_type") == "classify_log"]
    assert len(classify) == 3
    assert "sequence" in classify[0].input.example_list.examples[0].features.feature


def test_warmup_takes_samples_a_number_or_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", sequence=X.astype(np.float64))
    given = export_saved_model(PresetConfig(), tmp_path, warmup=tmp_path / "samples.npz")
    assert given.warmup_records == 10
    assert "cast from float64" in given.notes[0]
    first = tf.make_ndarray(records(given)[0].predict_log.request.inputs["sequence"])
    np.testing.assert_array_equal(first, X[:1])
    assert records(export_saved_model(PresetConfig(), tmp_path, warmup=0)) == []
    alone = export_saved_model(PresetConfig(), tmp_path, warmup=7, signatures=["serving_default"], new_signature=True)
    assert len(records(alone)) == 7
    for count in (-1, 501):
        with pytest.raises(ArgumentError, match="0 to 500 samples for 2 signatures"):
            export_saved_model(PresetConfig(), tmp_path, warmup=count)
    np.savez(tmp_path / "wrong.npz", sequence=X[..., :3])
    with pytest.raises(SamplesError, match=r"shape \[5, 10, 3\]"):
        export_saved_model(PresetConfig(), tmp_path, warmup=tmp_path / "wrong.npz")


def test_more_samples_than_tf_serving_replays_are_cut_with_a_word(tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", np.zeros((1200, 2, 3), np.float32))
    model = keras.Sequential([keras.Input((2, 3)), keras.layers.Dense(1)])
    result = export_saved_model(model, tmp_path, name="m", warmup=tmp_path / "many.npy")
    assert result.warmup_records == 1000
    assert "first 1000 of 1200 samples" in result.notes[0]
