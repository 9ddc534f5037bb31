"""Export: what is written, from what, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core import ArgumentError, ModelError, StorageError
from attnexport.exporter import AttentionConcatLayer, MultiHeadAttentionConcat, PresetConfig, build_model
from attnexport.store import ExportDirectory
from attnexport.workflows.export import export_saved_model

pytestmark = pytest.mark.slow

X = np.random.default_rng(0).standard_normal((5, 10, 64)).astype(np.float32)


def test_subclassed_and_nested_models_export(tmp_path: Path, run: Any, described: Any) -> None:
    class Subclassed(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="subclassed")
            self.inner = keras.Sequential([MultiHeadAttentionConcat(2, 6, 3, name="a"), keras.layers.Dense(3)])

        def call(self, x: Any) -> Any:
            return self.inner(x)

    model = Subclassed()
    with pytest.raises(ModelError, match="never built"):
        export_saved_model(model, tmp_path)
    x = X[:2, :4, :6]
    model(x)
    result = export_saved_model(model, tmp_path)
    np.testing.assert_allclose(run(result, {"input": x})["output"], model(x), rtol=0, atol=1e-5)
    assert "attention(input: float32 [?, 4, 6]) -> (a: float32 [?, 2, 4, 4])" in described(result).values()


def test_embeddings_masks_and_lookup_tables_export(tmp_path: Path, run: Any) -> None:
    vectorize = keras.layers.TextVectorization(output_sequence_length=6, vocabulary=["the", "cat", "sat"])
    model = keras.Sequential(
        [
            keras.Input((), dtype="string", name="text"),
            vectorize,
            keras.layers.Embedding(5, 8, mask_zero=True),
            MultiHeadAttentionConcat(2, 8, 4),
            keras.layers.GlobalAveragePooling1D(),
        ]
    )
    result = export_saved_model(model, tmp_path, name="text")
    text = np.array([b"the cat sat", b"cat"], object)
    expected = model(tf.constant(["the cat sat", "cat"]))
    np.testing.assert_allclose(run(result, {"text": text})["output"], expected, rtol=0, atol=1e-5)


def test_integer_inputs_stay_within_the_vocabulary(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32", name="tokens"), keras.layers.Embedding(3, 8), AttentionConcatLayer()]
    )
    assert export_saved_model(model, tmp_path, name="m").verdict


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_exports_within_its_own_budget(tmp_path: Path, policy: str) -> None:
    layer = MultiHeadAttentionConcat(4, 64, 16, dtype=policy)
    model = keras.Sequential([keras.Input((10, 64)), layer, keras.layers.Dense(3, dtype=policy)])
    result = export_saved_model(model, tmp_path, name="m")
    assert result.saved_model.precision == policy.removeprefix("mixed_")
    assert result.verdict


def test_a_saved_model_is_copied_with_its_records_and_held_against_itself(
    tmp_path: Path, exported_classifier: Any, described: Any
) -> None:
    copy = export_saved_model(exported_classifier.path, tmp_path, name="copy")
    assert described(copy) == described(exported_classifier)
    assert copy.warmup_records == 9
    assert copy.entry.reference == "the SavedModel in a session"
    assert [each.kind for each in copy.entry.artifacts] == ["saved_model"]
    assert export_saved_model(copy.directory, tmp_path).entry.version == 2
    without = export_saved_model(copy.path, tmp_path, name="copy", warmup=0)
    assert not (without.path / "assets.extra" / "tf_serving_warmup_requests").exists()
    with pytest.raises(ArgumentError, match="input names cannot be chosen for a SavedModel"):
        export_saved_model(copy.path, tmp_path, input_names=["x"])


def test_a_tf1_saved_model_is_copied(tmp_path: Path, described: Any) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 3), name="x")
        weight = v1.get_variable("w", initializer=np.eye(3, dtype=np.float32), use_resource=False)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "old"), {"x": x}, {"y": x @ weight})
    result = export_saved_model(tmp_path / "old", tmp_path / "out")
    assert described(result) == {"serving_default": "serving_default(x: float32 [?, 3]) -> (y: float32 [?, 3])"}


def test_the_manifest_says_what_came_of_what(exported_classifier: Any) -> None:
    [entry] = ExportDirectory(exported_classifier.directory).manifest().versions
    assert entry == exported_classifier.entry
    assert entry.source["kind"] == "preset"
    assert entry.environment["tensorflow"] == tf.__version__
    assert {each.path for each in entry.artifacts} == {"keras/1.keras", "saved_model/1"}
    parity = entry.artifacts[1].parity
    assert parity is not None
    assert parity["passed"]
    assert parity["worst"]["distance"]["max_error"] <= parity["worst"]["allowed_error"]
    json.dumps(parity, allow_nan=False)


def test_the_original_is_kept_to_measure_against(tmp_path: Path) -> None:
    build_model(seed=3).save(tmp_path / "mine.keras")
    result = export_saved_model(tmp_path / "mine.keras", tmp_path / "out")
    kept = result.directory / "keras" / "1.keras"
    assert kept.read_bytes() == (tmp_path / "mine.keras").read_bytes()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    model = build_model()
    model.layers[1].kernel.assign(np.full(model.layers[1].kernel.shape, value))
    with pytest.raises(ModelError, match=r"weight '.*hidden/kernel' holds NaN or infinity"):
        export_saved_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", [0, -1, True, "3"])
def test_a_version_is_a_positive_number(tmp_path: Path, version: Any) -> None:
    with pytest.raises(ArgumentError, match="version must be a whole number of at least 1"):
        export_saved_model(PresetConfig(), tmp_path, version=version)


def test_a_version_that_exists_is_refused(exported_classifier: Any) -> None:
    with pytest.raises(StorageError, match="the next free one is 2"):
        export_saved_model(PresetConfig(), exported_classifier.directory.parent, version=1)


@pytest.mark.parametrize("name", ["a/b", "..", "", ".hidden", "a b"])
def test_a_name_is_one_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match="not usable"):
        export_saved_model(build_model(), tmp_path, name=name or " ")
