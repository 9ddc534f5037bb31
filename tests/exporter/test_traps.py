"""What silently breaks on the obvious ways to export (docs/limits.md), each held by a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from attnexport.exporter import MultiHeadAttentionConcat, PresetConfig, export_saved_model

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
    """The other known way, from_concrete_functions on a Keras 3 model, answers NaN."""
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), MultiHeadAttentionConcat(4, FEATURES, 8)])
    result = export_saved_model(model, tmp_path, name="m", batch=1, signatures=["serving_default"])
    x = np.random.default_rng(0).standard_normal((1, STEPS, FEATURES)).astype(np.float32)
    runner = interpreter(convert(result.path))
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    actual = runner.get_tensor(runner.get_output_details()[0]["index"])
    np.testing.assert_allclose(actual, model(x), rtol=0, atol=1e-5)
