"""The server over gRPC, asked by tensorflow-serving-api's own stubs: answers, and the status of every refusal."""

from __future__ import annotations

from collections.abc import Callable
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
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from attnexport.serving.messages import SignatureDefMap
from attnexport.serving.server import GrpcOptions, ModelConfig
from tests.waiting_model import WaitingModel

X = np.array([[1.5, -2.0, 3.25], [0.0, 4.0, -0.5]], np.float32)
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def example(*values: float) -> tf.train.Example:
    return tf.train.Example(
        features=tf.train.Features(feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=values))})
    )


def with_examples(request: Any, signature: str, *rows: tuple[float, ...], name: str = "m") -> Any:
    request.model_spec.name, request.model_spec.signature_name = name, signature
    request.input.example_list.examples.extend(example(*row) for row in rows)
    return request


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.details()
    assert "\n" not in caught.value.details()
    return str(caught.value.code().name)


def test_predict_answers_in_value_fields_with_the_resolved_version_and_signature(serving: Any) -> None:
    reply = serving.predict({"x": X})
    assert (reply.model_spec.name, reply.model_spec.version.value) == ("m", 2)
    assert reply.model_spec.signature_name == "serving_default"
    assert not reply.outputs["y"].tensor_content
    assert len(reply.outputs["y"].float_val) == 6
    np.testing.assert_array_equal(tf.make_ndarray(reply.outputs["y"]), 2 * X + 2)
    assert tf.make_ndarray(reply.outputs["rows"]).tolist() == [2]


def test_versions_labels_and_output_filter_choose(serving: Any) -> None:
    assert serving.predict({"x": X}, version=1).outputs["y"].float_val[0] == 4.0
    assert serving.predict({"x": X}, label="stable").model_spec.version.value == 1
    reply = serving.predict({"x": X}, outputs=["rows"])
    assert list(reply.outputs) == ["rows"]


def test_tensor_content_is_sent_where_it_is_asked_for(start_serving: Any, model_base: Any) -> None:
    running = start_serving([ModelConfig("m", model_base)], grpc=GrpcOptions(tensor_content=True))
    tensor = running.predict({"x": X}).outputs["y"]
    assert tensor.tensor_content
    np.testing.assert_array_equal(tf.make_ndarray(tensor), 2 * X + 2)


def test_names_of_methods_are_checked_where_that_is_asked_for(start_serving: Any, tmp_path: Path) -> None:
    model = WaitingModel()
    model.go.set()
    described = SignatureDefMap.FromString(model.definitions)
    described.signature_def["serving_default"].method_name = "mine"
    model.definitions = described.SerializeToString()
    (tmp_path / "1").mkdir()
    for is_checked in (False, True):
        running = start_serving([ModelConfig("m", tmp_path)], loader=model, check_method_names=is_checked)
        if not is_checked:
            assert running.predict({"x": X}).outputs["y"].float_val[0] == 1.5
            continue
        with pytest.raises(grpc.RpcError, match=r"Expected prediction .* be one of .*/regress}\. Was: mine") as caught:
            running.predict({"x": X})
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        assert running.http("/v1/models/m:predict", {"instances": X.tolist()})[0] == 500
        request = with_examples(classification_pb2.ClassificationRequest(), "", (1, 2, 3))
        with pytest.raises(grpc.RpcError, match=f"Expected classification .* to be {CLASSIFY}. Was: mine") as caught:
            running.predictions.Classify(request)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_classify_regress_and_multi_inference_answer(serving: Any) -> None:
    request = with_examples(classification_pb2.ClassificationRequest(), "classify", (1, 2, 3), (4, 5, 6))
    reply = serving.predictions.Classify(request)
    assert [[(each.label, each.score) for each in row.classes] for row in reply.result.classifications] == [
        [("a", 1), ("b", 2), ("c", 3)],
        [("a", 4), ("b", 5), ("c", 6)],
    ]
    assert (reply.model_spec.version.value, reply.model_spec.signature_name) == (2, "classify")
    regression = with_examples(regression_pb2.RegressionRequest(), "regress", (1, 2, 3))
    assert serving.predictions.Regress(regression).result.regressions[0].value == 6
    multi = multi_request(("classify", CLASSIFY), ("regress", REGRESS))
    results = serving.predictions.MultiInference(multi).results
    assert results[0].classification_result.classifications[0].classes[2].score == 3
    assert results[1].regression_result.regressions[0].value == 6
    assert results[1].model_spec.version.value == 2


def test_a_context_is_merged_into_each_example(serving: Any) -> None:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "classify"
    request.input.example_list_with_context.context.CopyFrom(example(7, 8, 9))
    request.input.example_list_with_context.examples.extend([tf.train.Example(), example(1, 2, 3)])
    rows = serving.predictions.Classify(request).result.classifications
    assert [[each.score for each in row.classes] for row in rows] == [[7, 8, 9], [1, 2, 3]]


def multi_request(*tasks: tuple[str, str]) -> Any:
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "m", signature
    request.input.example_list.examples.append(example(1, 2, 3))
    return request


@pytest.mark.parametrize(
    ("inputs", "options", "code"),
    [
        ({"x": X}, {"name": ""}, "INVALID_ARGUMENT"),
        ({"x": X}, {"name": "nope"}, "NOT_FOUND"),
        ({"x": X}, {"name": "../m"}, "NOT_FOUND"),
        ({"x": X}, {"version": 9}, "NOT_FOUND"),
        ({"x": X}, {"version": 0}, "NOT_FOUND"),
        ({"x": X}, {"label": "nope"}, "INVALID_ARGUMENT"),
        ({"x": X}, {"signature": "nope"}, "FAILED_PRECONDITION"),
        ({}, {}, "INVALID_ARGUMENT"),
        ({"z": X}, {}, "INVALID_ARGUMENT"),
        ({"x": X, "z": X}, {}, "INVALID_ARGUMENT"),
        ({"x": X.astype("d")}, {}, "INVALID_ARGUMENT"),
        ({"x": X}, {"outputs": ["nope"]}, "INVALID_ARGUMENT"),
        ({"x": X}, {"outputs": ["y", "y"]}, "INVALID_ARGUMENT"),
        ({"x": X[:, :1]}, {"signature": "picky"}, "INVALID_ARGUMENT"),
        ({"x": X * np.nan}, {"signature": "picky"}, "INVALID_ARGUMENT"),
    ],
)
def test_predict_refuses_as_tf_serving_does(serving: Any, inputs: Any, options: dict[str, Any], code: str) -> None:
    assert code_of(lambda: serving.predict(inputs, **options)) == code


def test_a_request_without_model_spec_or_with_a_damaged_tensor_is_an_invalid_argument(serving: Any) -> None:
    assert code_of(lambda: serving.predictions.Predict(predict_pb2.PredictRequest())) == "INVALID_ARGUMENT"
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_content = b"abc"
    assert code_of(lambda: serving.predictions.Predict(request)) == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("signature", "code"), [("nope", "INVALID_ARGUMENT"), ("regress", "INVALID_ARGUMENT"), ("", "INVALID_ARGUMENT")]
)
def test_classify_refuses_other_signatures(serving: Any, signature: str, code: str) -> None:
    request = with_examples(classification_pb2.ClassificationRequest(), signature, (1, 2, 3))
    assert code_of(lambda: serving.predictions.Classify(request)) == code


def test_regress_refuses_other_signatures_other_models_and_no_examples(serving: Any) -> None:
    regress, request = serving.predictions.Regress, regression_pb2.RegressionRequest
    assert code_of(lambda: regress(with_examples(request(), "classify", (1, 2, 3)))) == "INVALID_ARGUMENT"
    assert code_of(lambda: regress(with_examples(request(), "regress"))) == "INVALID_ARGUMENT"
    assert code_of(lambda: regress(with_examples(request(), "regress", (1, 2, 3), name="no"))) == "NOT_FOUND"
    assert code_of(lambda: regress(with_examples(request(), "regress", (1, 2)))) == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("tasks", "code"),
    [
        ([("classify", "tensorflow/serving/predict")], "UNIMPLEMENTED"),
        ([("nope", CLASSIFY)], "INVALID_ARGUMENT"),
        ([("classify", REGRESS)], "INVALID_ARGUMENT"),
        ([("classify", CLASSIFY)] * 2, "INVALID_ARGUMENT"),
        ([], "INVALID_ARGUMENT"),
    ],
)
def test_multi_inference_refuses_as_tf_serving_does(serving: Any, tasks: Any, code: str) -> None:
    assert code_of(lambda: serving.predictions.MultiInference(multi_request(*tasks))) == code


def test_metadata_is_the_models_own_and_leaves_the_signature_name_empty(serving: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    reply = serving.predictions.GetModelMetadata(request)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert reply.metadata["signature_def"].Unpack(found)
    assert found.signature_def["serving_default"].inputs["x"].name == "x:0"
    assert found.signature_def["classify"].method_name == CLASSIFY
    assert (reply.model_spec.version.value, reply.model_spec.signature_name) == (2, "")


@pytest.mark.parametrize(
    ("name", "fields", "code"),
    [("m", [], "INVALID_ARGUMENT"), ("m", ["graph"], "INVALID_ARGUMENT"), ("", ["signature_def"], "INVALID_ARGUMENT"),
     ("nope", ["signature_def"], "NOT_FOUND")],
)  # fmt: skip
def test_metadata_refuses_as_tf_serving_does(serving: Any, name: str, fields: list[str], code: str) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    assert code_of(lambda: serving.predictions.GetModelMetadata(request)) == code


def test_status_lists_versions_newest_first_and_ignores_labels(serving: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name, request.model_spec.version_label = "m", "nonsense"
    statuses = serving.models.GetModelStatus(request).model_version_status
    assert [(each.version, each.state, each.status.error_code) for each in statuses] == [(2, 30, 0), (1, 30, 0)]
    request.model_spec.version.value = 1
    assert [each.version for each in serving.models.GetModelStatus(request).model_version_status] == [1]
    request.model_spec.version.value = 7
    assert code_of(lambda: serving.models.GetModelStatus(request)) == "NOT_FOUND"
    unknown = get_model_status_pb2.GetModelStatusRequest()
    unknown.model_spec.name = "nope"
    assert code_of(lambda: serving.models.GetModelStatus(unknown)) == "NOT_FOUND"
    empty = get_model_status_pb2.GetModelStatusRequest()
    assert code_of(lambda: serving.models.GetModelStatus(empty)) == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "entries",
    [
        None,
        [("a", "/m", "tensorflow"), ("a", "/n", "tensorflow")],
        [("a", "relative", "tensorflow")],
        [("a", "/m", "")],
        [("m", "/m", "torch")],
    ],
    ids=["empty", "twice", "relative", "no platform", "platform changed"],
)
def test_reload_refuses_as_tf_serving_does_and_changes_nothing(serving: Any, entries: Any) -> None:
    request = model_management_pb2.ReloadConfigRequest()
    for name, base_path, platform in entries or []:
        request.config.model_config_list.config.add(name=name, base_path=base_path, model_platform=platform)
    assert code_of(lambda: serving.models.HandleReloadConfigRequest(request)) == "INVALID_ARGUMENT"
    assert serving.predict({"x": X}).model_spec.version.value == 2
