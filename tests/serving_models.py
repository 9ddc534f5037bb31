"""A small SavedModel of TF 1 for the server's tests, and the server over a directory of its versions."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc

from attnexport.serving.server import ModelConfig, Server, ServerOptions
from attnexport.workflows.serve_models import ArtifactLoader

v1 = tf.compat.v1


def write_model(base: Path, version: int, *, warmup: bytes | None = None) -> Path:
    """Write a version whose outputs tell it: `y = 2 x + version`, of `x [?, 3]`; it takes its name when it is whole."""
    final, temporary = base / str(version), base.parent / f"writing-{base.name}-{version}"
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], "x")
        numbers = v1.placeholder(tf.int64, [None, 2], "numbers")
        words = v1.placeholder(tf.string, [None], "words")
        flags = v1.placeholder(tf.bool, None, "flags")
        halves = v1.placeholder(tf.float16, [None], "halves")
        examples = v1.placeholder(tf.string, [None], "examples")
        y = tf.add(2.0 * x, float(version), "y")
        parsed = v1.parse_example(examples, {"x": tf.io.FixedLenFeature([3], tf.float32)})["x"]
        labels = tf.tile(tf.constant([["a", "b", "c"]]), [tf.shape(examples)[0], 1])
        total = tf.reduce_sum(parsed, axis=1, keepdims=True)
        build, info = v1.saved_model.signature_def_utils.build_signature_def, v1.saved_model.utils.build_tensor_info

        def signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str = "predict") -> Any:
            described = [{key: info(value) for key, value in each.items()} for each in (inputs, outputs)]
            return build(*described, f"tensorflow/serving/{method}")

        builder = v1.saved_model.Builder(str(temporary))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": signature({"x": x}, {"y": y, "rows": tf.shape(x, out_type=tf.int64)[:1]}),
                "two": signature({"numbers": numbers, "x": x}, {"sum": tf.cast(numbers, tf.float32) + x[:, :2]}),
                "words": signature({"words": words}, {"words": tf.identity(words), "raw_bytes": tf.identity(words)}),
                "flags": signature({"flags": flags}, {"flags": tf.logical_not(flags)}),
                "halves": signature({"halves": halves}, {"halves": halves + 1}),
                "total": signature({"x": x}, {"total": tf.reduce_sum(x)}),
                "picky": signature({"x": x}, {"y": v1.check_numerics(tf.reshape(x, [-1, 3]), "no number")}),
                "classify": signature({"inputs": examples}, {"classes": labels, "scores": parsed}, "classify"),
                "regress": signature({"inputs": examples}, {"outputs": total}, "regress"),
            },
        )
        builder.save()
    if warmup is not None:
        path = temporary / "assets.extra" / "tf_serving_warmup_requests"
        path.parent.mkdir()
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(warmup)
    base.mkdir(parents=True, exist_ok=True)
    os.rename(temporary, final)
    return final


class Serving:
    """A running Server, and the clients of others that ask it: tensorflow-serving-api's stubs, and urllib."""

    def __init__(self, configs: list[ModelConfig], loader: Any = None, **options: Any) -> None:
        options = {"port": 0, "rest_port": 0, "poll_seconds": 0, **options}
        self.events: list[str] = []
        self.server = Server(loader or ArtifactLoader(), ServerOptions(**options), on_event=self.events.append)
        try:
            self.server.start(configs)
        except BaseException:
            self.server.stop()
            raise
        limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(self.server.address, limits)
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, inputs: dict[str, Any], signature: str = "", name: str = "m", **spec: Any) -> Any:
        """Predict over gRPC; arrays as TensorFlow encodes them."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        if "label" in spec:
            request.model_spec.version_label = spec["label"]
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        request.output_filter.extend(spec.get("outputs", []))
        return self.predictions.Predict(request, timeout=60)

    def http(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> Any:
        """Status, and the JSON or text of the answer; a body is posted, as JSON unless it is bytes."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server.rest_address}{path}", data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text, kind = answer.status, answer.read().decode(), answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            with error:
                status, text, kind = error.code, error.read().decode(), error.headers.get_content_type()
        return status, json.loads(text) if kind == "application/json" else text

    def stop(self) -> None:
        self.channel.close()
        self.server.stop()
