"""A small server made of tensorflow-serving-api's own stubs and TensorFlow's own codec: nothing of ours answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

SIGNATURES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "serving_default": ({"x": (tf.float32, [-1, 3])}, {"y": (tf.float32, [-1, 3]), "n": (tf.int64, [-1])}, "predict"),
    "two": ({"a": (tf.float32, [-1, 2]), "b": (tf.int32, [-1, 2])}, {"sum": (tf.float32, [-1, 2])}, "predict"),
    "echo": ({"x": (tf.string, None)}, {"x": (tf.string, None)}, "predict"),
    "total": ({"x": (tf.float32, [-1, 3])}, {"total": (tf.float32, [])}, "predict"),
    "classify": ({"inputs": (tf.string, [-1])}, {"classes": (tf.string, [-1, 2])}, "classify"),
    "regress": ({"inputs": (tf.string, [-1])}, {"outputs": (tf.float32, [-1, 1])}, "regress"),
}
LABELS = {"stable": 2}


def as_values(array: Any) -> Any:
    """In `*_val` fields, as TF Serving answers by default."""
    proto = tf.make_tensor_proto(array)
    if proto.tensor_content:
        fields = {"float32": "float_val", "int64": "int64_val", "float64": "double_val"}
        name = fields.get(np.asarray(array).dtype.name)
        if name:
            proto.tensor_content = b""
            getattr(proto, name).extend(np.asarray(array).reshape(-1).tolist())
    return proto


class Service:
    """The model 'm', versions 2 (stable) and 3, and 1 that failed to load."""

    def __init__(self) -> None:
        self.name, self.signatures = "m", dict(SIGNATURES)
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []
        self.failures: list[tuple[grpc.StatusCode, str]] = []  # of the next calls
        self.states: list[tuple[int, int, str]] = [(1, 50, "no graph"), (2, 30, ""), (3, 30, "")]
        self.content = False
        self.hold = threading.Event()  # calls wait while it is not set
        self.hold.set()
        self.replies: dict[str, Any] = {}
        self.meeting: threading.Barrier | None = None  # Predict waits until so many are there
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()

    def begin(self, name: str, request: Any, context: Any) -> None:
        with self._lock:
            self.calls.append((name, request, dict(context.invocation_metadata())))
            failure = self.failures.pop(0) if self.failures else None
        if failure:
            context.abort(*failure)
        deadline = time.monotonic() + 60
        while name == "Predict" and not self.hold.wait(0.01):
            if not context.is_active() or time.monotonic() > deadline:
                context.abort(grpc.StatusCode.CANCELLED, "gone")

    def version(self, spec: Any, context: Any) -> int:
        if not spec.name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        if spec.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        if spec.WhichOneof("version_choice") == "version_label":
            if spec.version_label not in LABELS:
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
                )
            return LABELS[spec.version_label]
        if spec.HasField("version"):
            version = int(spec.version.value)
            if version not in [each for each, state, _ in self.states if state == 30]:
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific(m, {version})")
            return version
        return max(each for each, _, _ in self.states)

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 - the stubs' name
        with self._lock:
            self.in_flight += 1
            self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            if self.meeting is not None:
                self.meeting.wait(30)
            self.begin("Predict", request, context)
            return self._predict(request, context)
        finally:
            with self._lock:
                self.in_flight -= 1

    def _predict(self, request: Any, context: Any) -> Any:
        version = self.version(request.model_spec, context)
        name = request.model_spec.signature_name or "serving_default"
        if name not in self.signatures:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature name: "{name}" not found')
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        if inputs.keys() != self.signatures[name][0].keys():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "input size does not match signature")
        if name == "serving_default":
            if inputs["x"].dtype != np.float32:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be float but double is provided")
            rows = inputs["x"].shape[:1]
            with np.errstate(over="ignore"):
                outputs = {"y": 2 * inputs["x"] + version, "n": np.full(rows, *rows)}
        elif name == "two":
            outputs = {"sum": inputs["a"] + inputs["b"].astype("f")}
        elif name == "total":
            outputs = {"total": inputs["x"].sum()}
        else:
            outputs = dict(inputs)
        for wanted in request.output_filter:
            if wanted not in outputs:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "output tensor alias not found in signature")
        reply = predict_pb2.PredictResponse()
        for key, value in outputs.items():
            if key in (request.output_filter or outputs):
                reply.outputs[key].CopyFrom(tf.make_tensor_proto(value) if self.content else as_values(value))
        reply.model_spec.name, reply.model_spec.signature_name = self.name, name
        reply.model_spec.version.value = version
        return reply

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("GetModelMetadata", request, context)
        version = self.version(request.model_spec, context)
        if list(request.metadata_field) != ["signature_def"]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Metadata field missing")
        found = get_model_metadata_pb2.SignatureDefMap()
        for name, (inputs, outputs, method) in self.signatures.items():
            definition = found.signature_def[name]
            definition.method_name = f"tensorflow/serving/{method}"
            for infos, specs in ((definition.inputs, inputs), (definition.outputs, outputs)):
                for key, (dtype, shape) in specs.items():
                    infos[key].CopyFrom(
                        meta_graph_pb2.TensorInfo(
                            name=f"{key}:0",
                            dtype=dtype.as_datatype_enum,
                            tensor_shape=tf.TensorShape(
                                None if shape is None else [None if size < 0 else size for size in shape]
                            ).as_proto(),
                        )
                    )
        found.signature_def["__saved_model_init_op"].outputs["op"].dtype = types_pb2.DT_INVALID
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.model_spec.name = self.name
        reply.model_spec.version.value = version
        reply.metadata["signature_def"].Pack(found)
        return reply

    def _result(self, input_: Any) -> Any:
        with_context = input_.WhichOneof("kind") == "example_list_with_context"
        examples = input_.example_list_with_context if with_context else input_.example_list
        shared = sum(examples.context.features.feature["x"].float_list.value) if with_context else 0.0
        return [sum(each.features.feature["x"].float_list.value) + shared for each in examples.examples]

    def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Classify", request, context)
        self._must_be("classify", request, context)
        reply = classification_pb2.ClassificationResponse()
        self._classes(reply.result, request.input)
        return reply

    def _classes(self, result: Any, input_: Any) -> None:
        for value in self._result(input_):
            one = result.classifications.add()
            one.classes.add(label="sum", score=value)
            one.classes.add(label="minus", score=-value)

    def Regress(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Regress", request, context)
        self._must_be("regress", request, context)
        reply = regression_pb2.RegressionResponse()
        for value in self._result(request.input):
            reply.result.regressions.add(value=value)
        return reply

    def _must_be(self, method: str, request: Any, context: Any) -> None:
        self.version(request.model_spec, context)
        name = request.model_spec.signature_name or "serving_default"
        if name not in self.signatures or self.signatures[name][2] != method:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"No {method} signature was found for {name}")

    def MultiInference(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("MultiInference", request, context)
        reply = inference_pb2.MultiInferenceResponse()
        for task in request.tasks:
            result = reply.results.add()
            result.model_spec.CopyFrom(task.model_spec)
            if task.method_name.endswith("classify"):
                self._classes(result.classification_result, request.input)
            else:
                for value in self._result(request.input):
                    result.regression_result.regressions.add(value=value)
        return reply

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("GetModelStatus", request, context)
        if request.model_spec.HasField("version") or request.model_spec.name != self.name:
            self.version(request.model_spec, context)
        reply = get_model_status_pb2.GetModelStatusResponse()
        for version, state, error in self.states:
            if request.model_spec.HasField("version") and version != request.model_spec.version.value:
                continue
            each = reply.model_version_status.add(version=version, state=state)
            if error:
                each.status.error_code, each.status.error_message = 3, error
        return reply

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("HandleReloadConfigRequest", request, context)
        reply = model_management_pb2.ReloadConfigResponse()
        if not request.config.model_config_list.config:
            reply.status.error_code, reply.status.error_message = 3, "the configuration is empty"
        return reply


class StubServer:
    """A Service on a port of the loopback."""

    def __init__(self, port: int = 0, credentials: Any = None) -> None:
        self.service = Service()
        self._pool = futures.ThreadPoolExecutor(8)
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.server(self._pool, options=options)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self.service, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self.service, self._server)
        place = f"127.0.0.1:{port}"
        bound = (
            self._server.add_secure_port(place, credentials) if credentials else self._server.add_insecure_port(place)
        )
        self.address = f"127.0.0.1:{bound}"
        self._server.start()

    def stop(self) -> None:
        self.service.hold.set()
        self._server.stop(None).wait(10)
        self._pool.shutdown()


@pytest.fixture
def start_server() -> Iterator[Callable[..., StubServer]]:
    """Start a StubServer; all are stopped in the end."""
    started: list[StubServer] = []

    def start(**options: Any) -> StubServer:
        started.append(StubServer(**options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def server(start_server: Callable[..., StubServer]) -> StubServer:
    return start_server()


@pytest.fixture
def client(server: StubServer) -> Iterator[Any]:
    """A client of the server and its model."""
    from attnexport.serving import Client

    with Client(server.address, model="m", timeout=20) as made:
        yield made
