"""Signatures: their names, what they compute, and those of one's own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core import ArgumentError, TensorSpec
from attnexport.exporter import (
    AttentionConcatLayer,
    Endpoint,
    MultiHeadAttentionConcat,
    PresetConfig,
    SavedModelRunner,
    build_model,
)
from attnexport.workflows.export import export_saved_model

pytestmark = pytest.mark.slow

X = np.random.default_rng(0).standard_normal((5, 10, 64)).astype(np.float32)


def softmax(logits: Any) -> Any:
    exponentials = np.exp(np.asarray(logits, np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


def test_all_three_signatures_with_their_names_and_methods(exported_classifier: Any, described: Any) -> None:
    assert described(exported_classifier) == {
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


def test_serving_default_computes_what_keras_computes(exported_classifier: Any, run: Any) -> None:
    model = build_model(pooling="average")
    np.testing.assert_allclose(run(exported_classifier, {"sequence": X})["logits"], model(X), rtol=0, atol=1e-5)
    assert exported_classifier.verdict


def test_attention_gives_the_weights_of_each_layer(exported_classifier: Any, run: Any) -> None:
    weights = run(exported_classifier, {"sequence": X}, "attention")["attention"]
    scores = X @ X.transpose(0, 2, 1) / 8
    np.testing.assert_allclose(weights, softmax(scores), rtol=0, atol=1e-5)


def test_classify_takes_examples_and_gives_probabilities(exported_classifier: Any, run: Any) -> None:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=X[0].reshape(-1)))
    example = tf.train.Example(features=tf.train.Features(feature={"sequence": feature}))
    outputs = run(exported_classifier, {"inputs": np.array([example.SerializeToString()], object)}, "classify")
    np.testing.assert_allclose(outputs["scores"], softmax(build_model(pooling="average")(X[:1])), rtol=0, atol=1e-5)
    assert outputs["classes"].tolist() == [[b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"]]


def test_classify_carries_labels_and_leaves_probabilities_alone(tmp_path: Path, run: Any) -> None:
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


def test_no_classify_for_a_row_a_step_and_labels_say_why(tmp_path: Path, described: Any) -> None:
    result = export_saved_model(PresetConfig(), tmp_path)
    assert set(described(result)) == {"serving_default", "attention"}
    with pytest.raises(ArgumentError, match=r"'classify', which needs one row of scores a sequence"):
        export_saved_model(PresetConfig(), tmp_path, labels=["a"])
    with pytest.raises(ArgumentError, match=r"2 label\(s\) were given for 10 classes"):
        export_saved_model(PresetConfig(pooling="max"), tmp_path, labels=["a", "b"])


def test_steps_and_batch_are_free_or_fixed(tmp_path: Path, run: Any, described: Any) -> None:
    free = export_saved_model(PresetConfig("multihead-classifier", steps=None), tmp_path)
    assert "sequence: float32 [?, ?, 64]" in described(free)["serving_default"]
    model = build_model("multihead-classifier", steps=None)
    for steps in (1, 3, 17):
        x = np.resize(X, (2, steps, 64)).astype(np.float32)
        np.testing.assert_allclose(run(free, {"sequence": x})["logits"], model(x), rtol=0, atol=1e-5)
    fixed = export_saved_model(model, tmp_path, steps=6, batch=2)
    assert "[2, 6, 64]" in described(fixed)["serving_default"]
    with pytest.raises(ArgumentError, match=r"steps cannot be 12: the inputs are sequence: .*\[\?, 10, 64\]"):
        export_saved_model(PresetConfig(), tmp_path, steps=12)


def test_names_are_those_asked_for(tmp_path: Path, described: Any) -> None:
    result = export_saved_model(build_model(), tmp_path, input_names=["x"], output_names=["y"])
    assert described(result)["serving_default"].startswith("serving_default(x: float32 [?, 10, 64]) -> (y:")
    assert result.entry.names == {"x": "sequence"}
    again = export_saved_model(result.directory, tmp_path)
    assert described(again) == described(result)
    assert again.entry.version == 2


def test_generated_names_become_input_and_output_and_given_ones_stay(tmp_path: Path, run: Any) -> None:
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


def test_dict_models_keep_their_keys(tmp_path: Path, run: Any) -> None:
    b, a = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    model = keras.Model({"b": b, "a": a}, {"sum": b + a, "difference": b - a})
    result = export_saved_model(model, tmp_path, name="m")
    values = {"b": X[0, :2, :3], "a": X[1, :2, :3]}
    outputs = run(result, values)
    np.testing.assert_allclose(outputs["difference"], values["b"] - values["a"], atol=1e-6)
    np.testing.assert_allclose(outputs["sum"], values["b"] + values["a"], atol=1e-6)


def test_an_endpoint_takes_the_table_that_it_looks_up_along(tmp_path: Path, run: Any) -> None:
    model = build_model()
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0], [1]), 0)
    spec = TensorSpec("key", "int32", (None,))
    endpoint = Endpoint("look_up", lambda tensors: {"value": table.lookup(tensors["key"])}, (spec,))
    result = export_saved_model(model, tmp_path, endpoints=[endpoint])
    keys = np.array([0, 5], np.int32)
    assert run(result, {"key": keys}, "look_up")["value"].tolist() == [1, 0]


def test_signatures_are_chosen_by_name(tmp_path: Path, described: Any) -> None:
    result = export_saved_model(PresetConfig(pooling="max"), tmp_path, signatures=["classify"])
    assert list(described(result)) == ["serving_default", "classify"]
    with pytest.raises(ArgumentError, match="'attention' is named twice"):
        export_saved_model(PresetConfig(), tmp_path, signatures=["attention", "attention"])
    with pytest.raises(ArgumentError, match="did you mean 'attention'"):
        export_saved_model(PresetConfig(), tmp_path, signatures=["atention"])


def test_endpoints_of_ones_own_share_the_weights(tmp_path: Path, run: Any) -> None:
    model = build_model(pooling="average")

    def top(tensors: dict[str, Any]) -> dict[str, Any]:
        return {"best": tf.argmax(model(tensors["sequence"]), -1)}

    endpoint = Endpoint("top", top, (TensorSpec("sequence", "float32", (None, 10, 64)),))
    result = export_saved_model(model, tmp_path, endpoints=[endpoint])
    np.testing.assert_array_equal(run(result, {"sequence": X}, "top")["best"], np.argmax(model(X), -1))
    plain = export_saved_model(model, tmp_path, new_signature=True)
    assert result.saved_model.size_bytes < 1.5 * plain.saved_model.size_bytes
    for name, message in (("serve", "must not be called 'serve'"), ("a b", "not a usable name")):
        with pytest.raises(ArgumentError, match=message):
            Endpoint(name, top, endpoint.inputs)
    with pytest.raises(ArgumentError, match="'attention' is named twice"):
        export_saved_model(model, tmp_path, endpoints=[Endpoint("attention", top, endpoint.inputs)])


def test_the_content_hash_is_of_weights_and_signatures(tmp_path: Path, exported_classifier: Any) -> None:
    def content_hash(**options: Any) -> str:
        sizes = {"pooling": "average", **{key: options.pop(key) for key in ("seed",) if key in options}}
        return str(
            export_saved_model(PresetConfig(**sizes), tmp_path, new_signature=True, **options).saved_model.content_hash
        )

    assert content_hash() == exported_classifier.saved_model.content_hash
    assert content_hash(seed=1) != exported_classifier.saved_model.content_hash
    assert content_hash(output_names=["other"]) != exported_classifier.saved_model.content_hash


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"input_names": ["a", "b"]}, r"2 names were given for the model's 1 input\(s\): sequence"),
        ({"input_names": ["a b"]}, "not a usable name"),
        ({"output_names": ["a", "b"]}, r"2 names were given for the model's 1 output\(s\)"),
        ({"output_names": ["a/b"]}, "not a usable name"),
        ({"batch": 0}, "batch must be a whole number of at least 1"),
    ],
)
def test_names_and_sizes_that_do_not_fit_are_refused(tmp_path: Path, names: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        export_saved_model(build_model(), tmp_path / "out", **names)
    assert not (tmp_path / "out").exists()


def test_names_that_their_author_chose_are_kept(tmp_path: Path, described: Any) -> None:
    first, second = keras.Input((3,), name="input_1"), keras.Input((3,), name="input_2")
    a, b = keras.layers.Dense(2, name="a")(first), keras.layers.Dense(2, name="b")(second)
    result = export_saved_model(keras.Model([first, second], [a, b]), tmp_path, name="m")
    assert described(result)["serving_default"] == (
        "serving_default(input_1: float32 [?, 3], input_2: float32 [?, 3]) -> (a: float32 [?, 2], b: float32 [?, 2])"
    )


def test_generated_names_never_meet_given_ones(tmp_path: Path) -> None:
    given, generated = keras.Input((3,), name="input"), keras.Input((3,))
    result = export_saved_model(keras.Model([given, generated], given + generated), tmp_path, name="m")
    assert [each.name for each in result.saved_model.signatures[0].inputs] == ["input", "input_0"]


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, [inputs * 2, inputs * 3], name="m")
    with pytest.raises(ArgumentError, match="two outputs are called 'y'"):
        export_saved_model(model, tmp_path / "out", output_names=["y", "y"])


def test_steps_fix_sequences_and_leave_other_inputs_alone(tmp_path: Path) -> None:
    sequence, extra = keras.Input((None, 4), name="sequence"), keras.Input((3,), name="extra")
    pooled = keras.layers.GlobalAveragePooling1D()(AttentionConcatLayer()(sequence))
    model = keras.Model([sequence, extra], keras.layers.Concatenate()([pooled, extra]), name="m")
    result = export_saved_model(model, tmp_path, steps=10)
    shapes = [each.shape for each in result.saved_model.signatures[0].inputs]
    assert shapes == [(None, 10, 4), (None, 3)]


def test_attention_outputs_do_not_depend_on_what_the_process_made_before(tmp_path: Path, described: Any) -> None:
    def names(*layers: Any) -> list[str]:
        model = keras.Sequential([keras.Input((5, 4)), *layers], name="m")
        result = export_saved_model(model, tmp_path, new_signature=True)
        return [
            spec.name for each in result.saved_model.signatures if each.name == "attention" for spec in each.outputs
        ]

    assert names(AttentionConcatLayer()) == ["attention"]
    assert names(AttentionConcatLayer(), MultiHeadAttentionConcat(2, 4)) == ["attention_0", "attention_1"]
    assert names(AttentionConcatLayer(name="1st"), AttentionConcatLayer()) == ["_1st", "attention"]


def test_the_content_hash_knows_what_is_computed(tmp_path: Path) -> None:
    """The bare layer has no weights at all: only d_k tells these two apart."""
    hashes = {
        export_saved_model(PresetConfig("attention", d_k=d_k), tmp_path).saved_model.content_hash for d_k in (8, 64, 8)
    }
    assert len(hashes) == 2


class Inner(keras.layers.Layer):  # type: ignore[misc]
    """Attends inside a loop, whose graph the weights cannot leave."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = AttentionConcatLayer()

    def build(self, shape: Any) -> None:
        self.attention.build(shape)

    def call(self, x: Any) -> Any:
        return keras.ops.map(lambda row: self.attention(row[None])[0], x)

    def compute_output_shape(self, shape: Any) -> Any:
        return self.attention.compute_output_shape(shape)


def test_attention_in_an_inner_graph_is_exported_without_its_weights(tmp_path: Path, described: Any) -> None:
    model = keras.Sequential([keras.Input((5, 4)), Inner()], name="m")
    assert set(described(export_saved_model(model, tmp_path))) == {"serving_default"}


def test_each_call_of_a_shared_layer_keeps_its_weights_and_other_layers_their_names(tmp_path: Path, run: Any) -> None:
    inputs = keras.Input((5, 4))
    twice, other = AttentionConcatLayer(1, name="att"), AttentionConcatLayer(9, name="att_1")
    first = keras.layers.Lambda(lambda x: x[..., :4])(twice(inputs))
    second = twice(first * 0.5)
    model = keras.Model(inputs, [second, other(inputs)], name="m")
    result = export_saved_model(model, tmp_path, output_names=["a", "b"])
    x = X[:2, :5, :4]
    weights = run(result, {"input": x}, "attention")
    assert set(weights) == {"att", "att_1", "att_2"}
    for name, d_k, scale in (("att", 1, 1.0), ("att_2", 1, 0.5), ("att_1", 9, 1.0)):
        scores = (scale * x) @ (scale * x).transpose(0, 2, 1) / np.sqrt(d_k)
        np.testing.assert_allclose(weights[name], softmax(scores), rtol=0, atol=1e-5)
