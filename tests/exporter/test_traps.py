"""What silently breaks on the obvious ways to export (docs/field-notes.md), each held by a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from attnexport.core import ModelError
from attnexport.exporter import MultiHeadAttentionConcat, PresetConfig
from attnexport.workflows.export import export_saved_model

pytestmark = pytest.mark.slow

STEPS, FEATURES = 16, 32


def test_every_variable_is_stored_once(tmp_path: Path) -> None:
    """`ExportArchive.track(model)` would store each twice."""
    result = export_saved_model(PresetConfig(units=4096, classes=4096), tmp_path, warmup=0)
    floats = 128 * 4096 + 4096 + 4096 * 4096 + 4096
    stored = sum(path.stat().st_size for path in (result.path / "variables").iterdir())
    assert 4 * floats <= stored < 4.1 * floats


def test_method_names_are_in_the_file_and_no_stale_fingerprint_is(exported_classifier: Any) -> None:
    """TF 2 writes every method as predict."""
    content = saved_model_pb2.SavedModel.FromString((exported_classifier.path / "saved_model.pb").read_bytes())
    methods = {name: each.method_name for name, each in content.meta_graphs[0].signature_def.items()}
    assert methods["classify"] == "tensorflow/serving/classify"
    assert methods["serving_default"] == methods["attention"] == "tensorflow/serving/predict"
    assert not (exported_classifier.path / "fingerprint.pb").exists()


def convert(saved_model: Path) -> bytes:
    content: bytes = tf.lite.TFLiteConverter.from_saved_model(str(saved_model)).convert()
    return content


def interpreter(content: bytes, delegated: bool = True) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if delegated else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    made = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=resolver)
    made.resize_tensor_input(made.get_input_details()[0]["index"], [1, STEPS, FEATURES])
    made.allocate_tensors()
    return made


@pytest.fixture(scope="module", params=[(None, STEPS), (1, STEPS), (1, None)], ids=str)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    batch, steps = request.param
    model = keras.Sequential(
        [
            keras.Input((steps, FEATURES)),
            MultiHeadAttentionConcat(4, FEATURES, 8, name="attention"),
            keras.layers.LeakyReLU(),  # the last layer's own tensor is renamed by the converter
        ]
    )
    result = export_saved_model(
        model, tmp_path_factory.mktemp("traps"), name="m", batch=batch, signatures=["serving_default"], warmup=0
    )
    return convert(result.path)


def test_attention_stays_one_delegate_partition(converted: bytes) -> None:
    """With Dense, ops.matmul or reshapes by tf.shape it falls into four to six partitions."""
    operators = [each["op_name"] for each in interpreter(converted)._get_ops_details()]
    assert operators.count("DELEGATE") == 1
    assert not {"SHAPE", "GATHER", "PACK", "STRIDED_SLICE"} & set(operators)


def test_converted_tensors_are_recognized_by_their_scope(converted: bytes) -> None:
    names = {each["name"] for each in interpreter(converted, delegated=False).get_tensor_details()}
    for scope in ("scores", "weights", "context", "concat"):
        assert any(f"/attention_1/{scope}/" in name for name in names), scope


def test_converted_numbers_are_keras_numbers(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), MultiHeadAttentionConcat(4, FEATURES, 8)])
    result = export_saved_model(model, tmp_path, name="m", batch=1, signatures=["serving_default"])
    x = np.random.default_rng(0).standard_normal((1, STEPS, FEATURES)).astype(np.float32)
    np.testing.assert_allclose(run_tflite(convert(result.path), x), model(x), rtol=0, atol=1e-5)


def keras_function(model: Any) -> Any:
    function = tf.function(lambda x: {"y": model(x, training=False)}, autograph=False)
    return function.get_concrete_function(tf.TensorSpec((1, STEPS, FEATURES), name="x"))


def run_tflite(content: bytes, x: Any) -> Any:
    runner = interpreter(content)
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"])


def test_trap_from_concrete_functions_of_a_keras_model_does_not_compute_it() -> None:
    """No error at conversion; the file reads variables that nobody sets."""
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), MultiHeadAttentionConcat(4, FEATURES, 8)])
    content = tf.lite.TFLiteConverter.from_concrete_functions([keras_function(model)], model).convert()
    x = np.random.default_rng(0).standard_normal((1, STEPS, FEATURES)).astype(np.float32)
    try:
        actual = run_tflite(content, x)
    except RuntimeError:
        return  # a runtime that refuses it is right, too
    assert not np.allclose(actual, model(x), atol=1e-3)


def test_trap_a_module_around_a_keras_model_fails_in_a_session(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), keras.layers.Dense(3)])
    module = tf.Module()
    module.model = model
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": keras_function(model)})
    with pytest.raises(ModelError, match="Could not find variable"):
        export_saved_model(tmp_path / "saved", tmp_path / "out")


def test_trap_an_endpoint_called_serve_hides_the_others_from_the_converter(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), keras.layers.Dense(3)])
    archive = keras.export.ExportArchive()
    for name in ("serve", "other"):
        archive.add_endpoint(name, lambda x: {"y": model(x)}, [tf.TensorSpec((1, STEPS, FEATURES), name="x")])
    archive.write_out(str(tmp_path / "saved"), verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), signature_keys=["serve", "other"])
    assert list(interpreter(converter.convert()).get_signature_list()) == ["serving_default"]
    copied = export_saved_model(tmp_path / "saved", tmp_path / "out")
    assert any("'serve' makes the TFLite converter ignore the others" in note for note in copied.notes)
