"""The gate: what is broken never takes its final name, and the obvious ways to export are broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core import GateError, ModelError, ParityError, SamplesError
from attnexport.exporter import AttentionConcatLayer, KerasRunner, SavedModelRunner, build_model
from attnexport.exporter.endpoints import model_endpoints
from attnexport.exporter.gate import gate_saved_model
from attnexport.exporter.model_inputs import model_inputs
from attnexport.parity import Case
from attnexport.workflows.export import export_saved_model

X = np.random.default_rng(0).standard_normal((3, 10, 64)).astype(np.float32)


class OtherInGraphs(keras.layers.Layer):  # type: ignore[misc]
    """Adds 0.01 in a graph, nothing eagerly."""

    def call(self, x: Any) -> Any:
        return x if tf.executing_eagerly() else x + 0.01


class NotFinite(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return tf.math.log(x)


class CallsPython(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        y = tf.numpy_function(np.tanh, [x], tf.float32)
        y.set_shape(x.shape)
        return y

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


def test_a_model_that_is_not_finite_on_any_sample_is_not_kept(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4, 3)), NotFinite()])
    with pytest.raises(ModelError, match=r"NaN or infinity .* give samples that the model is made for"):
        export_saved_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (OtherInGraphs, ParityError, r"max error 0\.01 .* worst at"),
        (CallsPython, GateError, r"calls Python \(PyFunc\), which TF Serving does not have"),
    ],
)
def test_a_model_that_is_not_what_keras_computes_is_not_kept(
    tmp_path: Path, layer: Any, error: type[Exception], message: str
) -> None:
    model = keras.Sequential([keras.Input((4, 3)), AttentionConcatLayer(), layer()])
    with pytest.raises(error, match=f"the SavedModel was not kept: .*{message}"):
        export_saved_model(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def gate(path: Path, model: Any) -> Any:
    endpoints = model_endpoints(model_inputs(model), ["logits"])
    runner = KerasRunner(endpoints)
    cases = [Case("three samples", {"sequence": X})]
    return gate_saved_model(path, runner, cases, expected=runner.signatures, precision="float32")


@pytest.fixture
def copied(tmp_path: Path, exported_classifier: Any) -> Path:
    """A SavedModel that may be damaged."""
    path = tmp_path / "copy"
    shutil.copytree(exported_classifier.path, path)
    return path


def test_what_was_exported_passes(copied: Path) -> None:
    assert gate(copied, build_model(pooling="average"))


def _other_weights(path: Path) -> None:
    data = path / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[100:104] = b"\x00\x00\x80\x3f"
    data.write_bytes(content)


def _no_variables(path: Path) -> None:
    shutil.rmtree(path / "variables")


def _cut_graph(path: Path) -> None:
    graph = path / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])


def _damaged_warmup(path: Path) -> None:
    records = path / "assets.extra" / "tf_serving_warmup_requests"
    records.write_bytes(records.read_bytes()[:-5])


def _warmup_of_another_model(path: Path) -> None:
    from attnexport.core import Signature, TensorSpec
    from attnexport.exporter.warmup import write_warmup

    spec = TensorSpec("other", "float32", (None, 2))
    write_warmup(path, "m", {"serving_default": Signature("serving_default", (spec,), (spec,))},
                 {"serving_default": {"other": np.zeros((1, 2), np.float32)}})  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_other_weights, "does not load in a session"),
        (_no_variables, "does not load in a session"),
        (_cut_graph, "does not load in a session"),
        (_damaged_warmup, "warm-up records are damaged"),
        (_warmup_of_another_model, "missing 'sequence', unknown 'other'"),
    ],
)
def test_damage_is_found(copied: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(copied)
    with pytest.raises(GateError, match=message):
        gate(copied, build_model(pooling="average"))


def test_other_weights_than_the_originals_are_found(copied: Path) -> None:
    with pytest.raises(ParityError, match="max error"):
        gate(copied, build_model(pooling="average", seed=1))


def test_a_missing_signature_is_found(tmp_path: Path) -> None:
    model = build_model(pooling="average")
    only_default = export_saved_model(model, tmp_path, signatures=["serving_default"], output_names=["logits"])
    with pytest.raises(GateError, match="'attention' is missing"):
        gate(only_default.path, model)


def test_trap_a_keras_model_saved_by_tensorflow_fails_in_a_session_and_in_the_gate(tmp_path: Path) -> None:
    """`tf.saved_model.save(keras_model)` looks right eagerly, in any process; TF Serving cannot run it."""
    model = build_model(pooling="average")
    function = tf.function(lambda sequence: {"logits": model(sequence)}, autograph=False)
    concrete = function.get_concrete_function(tf.TensorSpec((None, 10, 64), name="sequence"))
    path = tmp_path / "saved"
    tf.saved_model.save(model, str(path), signatures={"serving_default": concrete})
    eager = tf.saved_model.load(str(path)).signatures["serving_default"](tf.constant(X))["logits"]
    np.testing.assert_allclose(eager, model(X), rtol=0, atol=1e-5)
    with closing(SavedModelRunner(path)) as runner, pytest.raises(ModelError, match="Could not find variable"):
        runner.run({"sequence": X})
    with pytest.raises(GateError, match="signature 'attention' is missing"):
        gate(path, model)


class Random(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.seed = keras.random.SeedGenerator(1)

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seed)


def test_a_model_that_is_random_at_inference_proves_nothing(tmp_path: Path) -> None:
    """Its randomness is not taken for noise, which would let any weights pass."""
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.Dense(3), Random()])
    with pytest.raises(GateError, match="different outputs for the same input: it is random or keeps state"):
        export_saved_model(model, tmp_path / "out")


def test_what_keras_says_of_an_error_arrives(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,), dtype="int32", name="tokens"), keras.layers.Embedding(50, 4)])
    with pytest.raises(SamplesError, match=r"99 is not in \[0, 50\)"):
        export_saved_model(model, tmp_path / "out", warmup={"tokens": np.full((2, 3), 99)})
