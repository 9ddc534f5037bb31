"""Export: what is written, under which names, and that it computes what Keras computes."""

from __future__ import annotations

import json
import math
from contextlib import closing
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from attnexport.core import ArgumentError, ExportDirectory, ModelError, SamplesError, StorageError, TensorSpec
from attnexport.exporter import (
    AttentionConcatLayer,
    Endpoint,
    MultiHeadAttentionConcat,
    PresetConfig,
    SavedModelRunner,
    build_model,
    export_saved_model,
)

X = np.random.default_rng(0).standard_normal((5, 10, 64)).astype(np.float32)


def run(result: Any, inputs: Any, signature: str = "serving_default") -> dict[str, Any]:
    with closing(SavedModelRunner(result.path)) as runner:
        return runner.run(inputs, signature)


def signatures(result: Any) -> dict[str, str]:
    return {each.name: str(each) for each in result.saved_model.signatures}


def softmax(logits: Any) -> Any:
    exponentials = np.exp(np.asarray(logits, np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


def test_all_three_signatures_with_their_names_and_methods(exported_classifier: Any) -> None:
    assert signatures(exported_classifier) == {
        "serving_default": "serving_default(sequence: float32 [?, 10, 64]) -> (logits: float32 [?, 10])",
        "attention": "attention(sequence: float32 [?, 10, 64]) -> (attention: float32 [?, 10, 10])",
        "classify": "classify(inputs: string [?]) -> (classes: string [?, 10], scores: float32 [?, 10])",
    }
    with closing(SavedModelRunner(exported_classifier.path)) as runner:
        assert {each.name: each.method for each in runner.signatures.values()} == {
            "serving_default": "predict",
            "attention": "predict",
            "classify": "classify",
        }


def test_serving_default_computes_what_keras_computes(exported_classifier: Any) -> None:
    model = build_model(pooling="average")
    np.testing.assert_allclose(run(exported_classifier, {"sequence": X})["logits"], model(X), rtol=0, atol=1e-5)
    assert exported_classifier.verdict


def test_attention_gives_the_weights_of_each_layer(exported_classifier: Any) -> None:
    weights = run(exported_classifier, {"sequence": X}, "attention")["attention"]
    scores = X @ X.transpose(0, 2, 1) / 8
    np.testing.assert_allclose(weights, softmax(scores), rtol=0, atol=1e-5)


def test_classify_takes_examples_and_gives_probabilities(exported_classifier: Any) -> None:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=X[0].reshape(-1)))
    example = tf.train.Example(features=tf.train.Features(feature={"sequence": feature}))
    outputs = run(exported_classifier, {"inputs": np.array([example.SerializeToString()], object)}, "classify")
    np.testing.assert_allclose(outputs["scores"], softmax(build_model(pooling="average")(X[:1])), rtol=0, atol=1e-5)
    assert outputs["classes"].tolist() == [[b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"]]


def test_classify_carries_labels_and_leaves_probabilities_alone(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((4, 3)), AttentionConcatLayer(), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    )
    result = export_saved_model(model, tmp_path, name="m", labels=["no", "yes"])
    x = X[:2, :4, :3]
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"input": tf.train.Feature(float_list=tf.train.FloatList(value=row.reshape(-1)))}
            )
        ).SerializeToString()
        for row in x
    ]
    outputs = run(result, {"inputs": np.array(examples, object)}, "classify")
    assert outputs["classes"].tolist() == [[b"no", b"yes"]] * 2
    np.testing.assert_allclose(outputs["scores"], model(x), rtol=0, atol=1e-6)


def test_no_classify_for_a_row_a_step_and_labels_say_why(tmp_path: Path) -> None:
    result = export_saved_model(PresetConfig(), tmp_path)
    assert set(signatures(result)) == {"serving_default", "attention"}
    with pytest.raises(ArgumentError, match=r"'classify', which needs .* one row of scores"):
        export_saved_model(PresetConfig(), tmp_path, labels=["a"])
    with pytest.raises(ArgumentError, match="there are 2 labels for 10 classes"):
        export_saved_model(PresetConfig(pooling="max"), tmp_path, labels=["a", "b"])


def test_steps_and_batch_are_free_or_fixed(tmp_path: Path) -> None:
    free = export_saved_model(PresetConfig("multihead-classifier", steps=None), tmp_path)
    assert "sequence: float32 [?, ?, 64]" in signatures(free)["serving_default"]
    model = build_model("multihead-classifier", steps=None)
    for steps in (1, 3, 17):
        x = np.resize(X, (2, steps, 64)).astype(np.float32)
        np.testing.assert_allclose(run(free, {"sequence": x})["logits"], model(x), rtol=0, atol=1e-5)
    fixed = export_saved_model(model, tmp_path, steps=6, batch=2)
    assert "[2, 6, 64]" in signatures(fixed)["serving_default"]
    with pytest.raises(ArgumentError, match=r"\[\?, 10, 64\]: its steps cannot be 12"):
        export_saved_model(PresetConfig(), tmp_path, steps=12)


def test_names_are_those_asked_for(tmp_path: Path) -> None:
    result = export_saved_model(build_model(), tmp_path, input_names=["x"], output_names=["y"])
    assert signatures(result)["serving_default"].startswith("serving_default(x: float32 [?, 10, 64]) -> (y:")
    assert result.entry.names == {"x": "sequence"}
    again = export_saved_model(result.directory, tmp_path)
    assert signatures(again) == signatures(result)
    assert again.entry.version == 2


def test_generated_names_become_input_and_output_and_given_ones_stay(tmp_path: Path) -> None:
    first, second, third = keras.Input((3,)), keras.Input((4,), name="mine"), keras.Input((5,))
    joined = keras.layers.Concatenate()([first, second, third])
    listed = keras.Model([first, second, third], [keras.layers.Dense(2)(joined), keras.layers.Dense(3)(joined)])
    result = export_saved_model(listed, tmp_path, name="listed")
    [signature] = result.saved_model.signatures
    assert [str(each) for each in signature.inputs] == [
        "input_0: float32 [?, 3]",
        "mine: float32 [?, 4]",
        "input_1: float32 [?, 5]",
    ]
    assert [each.name for each in signature.outputs] == ["output_0", "output_1"]
    inputs = {"input_0": X[0, :2, :3], "mine": X[0, :2, :4], "input_1": X[0, :2, :5]}
    for actual, expected in zip(run(result, inputs).values(), listed(list(inputs.values())), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_dict_models_keep_their_keys(tmp_path: Path) -> None:
    b, a = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    model = keras.Model({"b": b, "a": a}, {"sum": b + a, "difference": b - a})
    result = export_saved_model(model, tmp_path, name="m")
    values = {"b": X[0, :2, :3], "a": X[1, :2, :3]}
    outputs = run(result, values)
    np.testing.assert_allclose(outputs["difference"], values["b"] - values["a"], atol=1e-6)
    np.testing.assert_allclose(outputs["sum"], values["b"] + values["a"], atol=1e-6)


def test_subclassed_and_nested_models_export(tmp_path: Path) -> None:
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
    assert "attention(input: float32 [?, 4, 6]) -> (a: float32 [?, 2, 4, 4])" in signatures(result).values()


def test_embeddings_masks_and_lookup_tables_export(tmp_path: Path) -> None:
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


def test_signatures_are_chosen_by_name(tmp_path: Path) -> None:
    result = export_saved_model(PresetConfig(pooling="max"), tmp_path, signatures=["classify"])
    assert list(signatures(result)) == ["serving_default", "classify"]
    with pytest.raises(ArgumentError, match="'attention' is named twice"):
        export_saved_model(PresetConfig(), tmp_path, signatures=["attention", "attention"])
    with pytest.raises(ArgumentError, match="did you mean 'attention'"):
        export_saved_model(PresetConfig(), tmp_path, signatures=["atention"])


def test_endpoints_of_ones_own_share_the_weights(tmp_path: Path) -> None:
    model = build_model(pooling="average")

    def top(tensors: dict[str, Any]) -> dict[str, Any]:
        return {"best": tf.argmax(model(tensors["sequence"]), -1)}

    endpoint = Endpoint("top", top, (TensorSpec("sequence", "float32", (None, 10, 64)),))
    result = export_saved_model(model, tmp_path, endpoints=[endpoint])
    np.testing.assert_array_equal(run(result, {"sequence": X}, "top")["best"], np.argmax(model(X), -1))
    plain = export_saved_model(model, tmp_path)
    assert result.saved_model.size_bytes < 1.5 * plain.saved_model.size_bytes
    for name, message in (("serve", "must not be called 'serve'"), ("a b", "not a usable name")):
        with pytest.raises(ArgumentError, match=message):
            Endpoint(name, top, endpoint.inputs)
    with pytest.raises(ArgumentError, match="'attention' is named twice"):
        export_saved_model(model, tmp_path, endpoints=[Endpoint("attention", top, endpoint.inputs)])


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
    assert len(records(export_saved_model(PresetConfig(), tmp_path, warmup=7, signatures=["serving_default"]))) == 7
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


def test_a_saved_model_is_copied_with_its_records_and_held_against_itself(
    tmp_path: Path, exported_classifier: Any
) -> None:
    copy = export_saved_model(exported_classifier.path, tmp_path, name="copy")
    assert signatures(copy) == signatures(exported_classifier)
    assert copy.warmup_records == 9
    assert copy.entry.reference == "the SavedModel in a session"
    assert [each.kind for each in copy.entry.artifacts] == ["saved_model"]
    assert export_saved_model(copy.directory, tmp_path).entry.version == 2
    assert records(export_saved_model(copy.path, tmp_path, name="copy", warmup=0)) == []
    with pytest.raises(ArgumentError, match="input names cannot be chosen for a SavedModel"):
        export_saved_model(copy.path, tmp_path, input_names=["x"])


def test_a_tf1_saved_model_is_copied(tmp_path: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 3), name="x")
        weight = v1.get_variable("w", initializer=np.eye(3, dtype=np.float32), use_resource=False)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "old"), {"x": x}, {"y": x @ weight})
    result = export_saved_model(tmp_path / "old", tmp_path / "out")
    assert signatures(result) == {"serving_default": "serving_default(x: float32 [?, 3]) -> (y: float32 [?, 3])"}


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


def test_the_content_hash_is_of_weights_and_signatures(tmp_path: Path, exported_classifier: Any) -> None:
    def content_hash(**options: Any) -> str:
        sizes = {"pooling": "average", **{key: options.pop(key) for key in ("seed",) if key in options}}
        return str(export_saved_model(PresetConfig(**sizes), tmp_path, **options).saved_model.content_hash)

    assert content_hash() == exported_classifier.saved_model.content_hash
    assert content_hash(seed=1) != exported_classifier.saved_model.content_hash
    assert content_hash(output_names=["other"]) != exported_classifier.saved_model.content_hash


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


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"input_names": ["a", "b"]}, "has 1 inputs"),
        ({"input_names": ["a b"]}, "not a usable name"),
        ({"output_names": ["a", "b"]}, "has 1 outputs"),
        ({"output_names": ["a/b"]}, "not a usable name"),
        ({"batch": 0}, "batch must be a whole number of at least 1"),
    ],
)
def test_names_and_sizes_that_do_not_fit_are_refused(tmp_path: Path, names: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        export_saved_model(build_model(), tmp_path / "out", **names)
    assert not (tmp_path / "out").exists()
