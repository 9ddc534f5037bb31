"""What TF Serving's own integration tests ask of a server, in our words; `tests/run_tfserving_tests.py` runs theirs."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

import attnexport as ax
from attnexport.core import ContentError, Signature, TensorSpec
from attnexport.serving.server.checks import with_axes_of_one

v1 = tf.compat.v1
VERSION = 123


def write_half_plus(base: Path, addend: float) -> Path:
    """A TF 1 model y = x / 2 + addend with signatures to predict, classify and regress."""
    with v1.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        serialized = v1.placeholder(tf.string, name="tf_example")
        features = v1.io.parse_example(serialized, {"x": v1.io.FixedLenFeature([1], tf.float32)})
        x = tf.identity(features["x"], name="x")
        x.set_shape([None, 1])
        half, added = v1.Variable(0.5), v1.Variable(addend)
        y = tf.add(tf.multiply(half, x), added, name="y")
        session.run(v1.global_variables_initializer())
        info, define = v1.saved_model.utils.build_tensor_info, v1.saved_model.signature_def_utils.build_signature_def
        example = {"inputs": info(serialized)}
        builder = v1.saved_model.Builder(str(base / f"{VERSION:08}"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": define({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"),
                "classify_x_to_y": define(example, {"scores": info(y)}, "tensorflow/serving/classify"),
                "regress_x_to_y": define(example, {"outputs": info(y)}, "tensorflow/serving/regress"),
            },
        )
        builder.save()
    return base


class Asking:
    """A served configuration and how it is asked."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.channel = grpc.insecure_channel(server.grpc_address)
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, name: str, signature: str = "serving_default", *wanted: str, channel: Any = None) -> float:
        """The one output for x = 2, sent as `[1]`."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        request.inputs["x"].dtype = 1
        request.inputs["x"].float_val.append(2.0)
        request.inputs["x"].tensor_shape.dim.add().size = 1
        request.output_filter.extend(wanted)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel or self.channel)
        reply = stub.Predict(request, timeout=30)
        assert (reply.model_spec.name, reply.model_spec.signature_name) == (name, signature)
        assert reply.model_spec.version.value == VERSION
        assert reply.outputs["y"].dtype == 1
        [value] = reply.outputs["y"].float_val
        return float(value)

    def http(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.server.rest_address}{path}", data, timeout=30) as answer:
            return json.loads(answer.read()) if "json" in answer.headers["Content-Type"] else answer.read()


def config_of(**models: Path) -> str:
    entries = [
        f'config: {{ name: "{name}", base_path: "{base}", model_platform: "tensorflow" }}'
        for name, base in models.items()
    ]
    return f"model_config_list: {{ {' '.join(entries)} }}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("asked")
    write_half_plus(path / "two", 2.0)
    write_half_plus(path / "three", 3.0)
    root = tf.train.Checkpoint()
    anything = [tf.TensorSpec(None, tf.float32)]
    root.f = tf.function(lambda x: {"y": 1.0}, input_signature=anything)
    root.g = tf.function(lambda x: {"y": 6.0 * x}, input_signature=anything)
    signatures = {"serving_default": root.f, "custom_signature_key": root.g}
    tf.saved_model.save(root, str(path / "plain" / f"{VERSION:08}"), signatures=signatures)
    return path


@pytest.fixture(scope="module")
def asking(folder: Path) -> Iterator[Asking]:
    config = folder / "models.config"
    config.write_text(config_of(default=folder / "two", half_plus_three=folder / "three", plain=folder / "plain"))
    settings = ax.ServeSettings(
        model_config_file=str(config),
        grpc_socket_path=os.path.relpath(folder / "s"),  # the names of sockets are short
        grpc_channel_arguments="grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb,grpc.so_reuseaddr=1",
    )
    with ax.serve(settings=settings) as server:
        asked = Asking(server)
        yield asked
        asked.channel.close()


def test_a_missing_model_is_named_as_a_servable_by_which_readiness_is_told(asking: Asking) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asking.predict("intentionally_missing_model")
    assert "Servable" in (caught.value.details() or "")


def test_predict_takes_a_shape_that_is_not_declared_with_and_without_an_output_filter(asking: Asking) -> None:
    assert asking.predict("default") == asking.predict("default", "serving_default", "y") == 3.0
    assert asking.predict("half_plus_three") == asking.predict("half_plus_three", "serving_default", "y") == 4.0
    with grpc.insecure_channel(f"unix:{asking.server._plan.settings.grpc_socket_path}") as channel:
        assert asking.predict("default", channel=channel) == 3.0
    assert asking.predict("plain", "custom_signature_key") == 12.0
    assert asking.predict("plain") == 1.0


def test_status_and_metadata(asking: Asking) -> None:
    status = asking.models.GetModelStatus(
        get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "default"}), timeout=30
    )
    [version] = status.model_version_status
    assert (version.version, version.status.error_code) == (VERSION, 0)
    metadata = asking.predictions.GetModelMetadata(
        get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec={"name": "default"}, metadata_field=["signature_def"]
        ),
        timeout=30,
    )
    assert (metadata.model_spec.name, metadata.model_spec.version.value) == ("default", VERSION)
    assert list(metadata.metadata) == ["signature_def"]
    ok = {"error_code": "OK", "error_message": ""}
    assert asking.http("/v1/models/default") == {
        "model_version_status": [{"version": "123", "state": "AVAILABLE", "status": ok}]
    }
    described = asking.http("/v1/models/default/metadata")
    assert described["model_spec"] == {"name": "default", "version": "123", "signature_name": ""}
    definition = described["metadata"]["signature_def"]["signature_def"]["classify_x_to_y"]
    assert definition["inputs"]["inputs"]["tensor_shape"] == {"unknown_rank": True, "dim": []}
    assert definition["outputs"]["scores"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
        "unknown_rank": False,
    }
    assert definition["defaults"] == {}


def test_classify_regress_and_both(asking: Asking) -> None:
    def spec(signature: str) -> dict[str, str]:
        return {"name": "default", "signature_name": signature}

    classify = classification_pb2.ClassificationRequest(model_spec=spec("classify_x_to_y"))
    regress = regression_pb2.RegressionRequest(model_spec=spec("regress_x_to_y"))
    both = inference_pb2.MultiInferenceRequest()
    both.tasks.add(model_spec=regress.model_spec, method_name="tensorflow/serving/regress")
    both.tasks.add(model_spec=classify.model_spec, method_name="tensorflow/serving/classify")
    for request in (classify, regress, both):
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    classified = asking.predictions.Classify(classify, timeout=30)
    assert [each.score for each in classified.result.classifications[0].classes] == [3.0]
    regressed = asking.predictions.Regress(regress, timeout=30)
    assert [each.value for each in regressed.result.regressions] == [3.0]
    for reply, request in ((classified, classify), (regressed, regress)):
        assert reply.model_spec.version.value == VERSION
        assert reply.model_spec.signature_name == request.model_spec.signature_name
    first, second = asking.predictions.MultiInference(both, timeout=30).results
    assert first.regression_result.regressions[0].value == 3.0
    assert second.classification_result.classifications[0].classes[0].score == 3.0
    assert [each.model_spec.signature_name for each in (first, second)] == ["regress_x_to_y", "classify_x_to_y"]


def test_rest_in_rows_columns_and_examples_and_the_metrics(asking: Asking) -> None:
    path = "/v1/models/default"
    assert asking.http(f"{path}:predict", {"instances": [2.0, 3.0, 4.0]}) == {"predictions": [3.0, 3.5, 4.0]}
    assert asking.http(f"{path}:predict", {"inputs": [2.0, 3.0, 4.0]}) == {"outputs": [3.0, 3.5, 4.0]}
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
    assert asking.http(f"{path}:classify", body) == {"results": [[["", 3.0]]]}
    assert asking.http(f"{path}:regress", {**body, "signature_name": "regress_x_to_y"}) == {"results": [3.0]}
    assert b"# TYPE" in asking.http("/monitoring/prometheus/metrics")


def test_batching_answers_the_same(folder: Path) -> None:
    parameters = folder / "batching.txt"
    parameters.write_text("max_batch_size { value: 128 } batch_timeout_micros { value: 0 }")
    settings = ax.ServeSettings(
        model_base_path=str(folder / "two"), enable_batching=True, batching_parameters_file=str(parameters)
    )
    with ax.serve(settings=settings) as server:
        asked = Asking(server)
        assert asked.predict("default") == 3.0
        asked.channel.close()


@pytest.mark.parametrize("poll_seconds", [0.1, 0.0])
def test_a_configuration_that_changes_is_followed_only_with_a_poll_period(folder: Path, poll_seconds: float) -> None:
    config = folder / f"followed-{poll_seconds}.config"
    config.write_text(config_of(half_plus_two=folder / "two"))
    settings = ax.ServeSettings(model_config_file=str(config), model_config_file_poll_wait_seconds=poll_seconds)
    with ax.serve(settings=settings) as server:
        asked = Asking(server)
        assert asked.predict("half_plus_two") == 3.0
        config.write_text(config_of(half_plus_three=folder / "three"))
        for _ in range(600 if poll_seconds else 5):
            try:
                found = asked.predict("half_plus_three")
            except grpc.RpcError:
                found = None
            if found:
                break
            time.sleep(0.05)
        assert found == (4.0 if poll_seconds else None)
        if not poll_seconds:
            assert asked.predict("half_plus_two") == 3.0
        asked.channel.close()


def test_a_configuration_that_does_not_parse_says_what_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "bad.config").write_text("improperly formatted file")
    words = r"Error parsing text-format tensorflow\.serving\.ModelServerConfig"
    with pytest.raises(ContentError, match=words):
        ax.serve(settings=ax.ServeSettings(model_config_file=str(tmp_path / "bad.config")))


def test_trailing_axes_of_one_may_be_left_out_where_shapes_are_checked() -> None:
    specs = (TensorSpec("x", "float32", (None, 1)), TensorSpec("z", "float32", (None, 2)))
    y = TensorSpec("y", "float32", (None, 1))
    given = {"x": np.ones(3, np.float32), "z": np.ones(3, np.float32)}
    fitting = with_axes_of_one(Signature("serving_default", specs, (y,)), given)
    assert {name: array.shape for name, array in fitting.items()} == {"x": (3, 1), "z": (3,)}
    scalar = {"x": np.float32(1), "z": given["z"]}
    assert with_axes_of_one(Signature("serving_default", specs, (y,)), scalar)["x"].shape == ()
