"""The server asked by others: curl, ovmsclient, gRPC with certificates; and a .tflite behind it."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from attnexport.serving.server import ModelConfig
from tests.certificates import Authority

ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
OVMSCLIENT = """
import json, sys
import numpy as np
import ovmsclient
x, found = {"x": np.array(json.loads(sys.argv[3]), np.float32)}, []
for client in (ovmsclient.make_grpc_client(sys.argv[1]), ovmsclient.make_http_client(sys.argv[2])):
    state = client.get_model_status("m", 2)[2]["state"]
    about = client.get_model_metadata("m", 2)
    answer = client.predict(x, "m", 1)["y"]
    try:
        client.predict(x, "nope", 1)
    except ovmsclient.tfs_compat.base.errors.ModelNotFoundError as error:
        refused = str(error)
    found.append([state, "FLOAT" in json.dumps(about), answer.tolist(), refused])
print(json.dumps(found))
"""


@pytest.fixture
def curl(serving: Any, tmp_path: Path) -> Callable[..., tuple[int, Any]]:
    """Ask the server with curl; HTTP status, and the document that it sent."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl on PATH")

    def ask(path: str, *arguments: str) -> tuple[int, Any]:
        words = [program, "-sS", "-w", "\n%{http_code}", *arguments, f"{serving.server.rest_address}{path}"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body)

    return ask


def test_curl_predicts_and_asks_for_status_and_metadata(curl: Callable[..., tuple[int, Any]]) -> None:
    rows = json.dumps({"signature_name": "picky", "instances": ROWS})
    assert curl("/v1/models/m:predict", "-d", rows) == (200, {"predictions": ROWS})
    status, document = curl("/v1/models/m/labels/stable")
    assert (status, document["model_version_status"][0]["state"]) == (200, "AVAILABLE")
    status, document = curl("/v1/models/m/versions/1/metadata")
    assert (status, document["model_spec"]["version"]) == (200, "1")
    assert "picky" in document["metadata"]["signature_def"]["signature_def"]


def test_curl_is_refused_in_json_and_may_pack_its_body(curl: Callable[..., tuple[int, Any]], tmp_path: Path) -> None:
    for path, body, code, words in (
        ("/v1/models/m:predict", "{", 400, "JSON Parse error"),
        ("/v1/models/m:predict", '{"signature_name": "picky", "instances": [[1, 2]]}', 400, "Input to reshape"),
        ("/v1/models/nope:predict", '{"inputs": 1}', 404, "there is no model 'nope'"),
    ):
        status, document = curl(path, "-d", body)
        assert (status, list(document)) == (code, ["error"])
        assert words in document["error"]
    large = [[float(number), 0.0, 0.0] for number in range(2000)]  # curl asks first whether it may (100-continue)
    (tmp_path / "body.gz").write_bytes(
        gzip.compress(json.dumps({"signature_name": "picky", "instances": large}).encode())
    )
    packed = ["-H", "Content-Encoding: gzip", "-H", "Expect: 100-continue", "--data-binary", "@body.gz"]
    assert curl("/v1/models/m:predict", *packed) == (200, {"predictions": large})


@pytest.mark.skipif(importlib.util.find_spec("ovmsclient") is None, reason="ovmsclient is not installed")
def test_ovmsclient_asks_both_edges(serving: Any) -> None:
    """In a process of its own: its messages have the names of tensorflow-serving-api's."""
    addresses = [serving.server.address, serving.server.rest_address.removeprefix("http://")]
    words = [sys.executable, "-c", OVMSCLIENT, *addresses, json.dumps(ROWS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 2
    for state, described, answer, refused in found:
        assert (state, described) == ("AVAILABLE", True)
        np.testing.assert_array_equal(answer, 2 * np.array(ROWS) + 1)
        assert "there is no model 'nope'" in refused


def test_a_client_without_certificate_is_refused_where_one_is_asked_for(
    start_serving: Callable[..., Any], model_base: Path, tmp_path: Path
) -> None:
    from attnexport.serving.server.text_config import SSLConfig
    from attnexport.workflows.serve_options import server_options
    from attnexport.workflows.serve_settings import ServeSettings

    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    key, certificate = ours.issue("server")
    config = SSLConfig(
        server_key=key.read_text(), server_cert=certificate.read_text(), custom_ca=ours.ca.read_text(),
        client_verify=True,
    )  # fmt: skip
    (tmp_path / "ssl.txt").write_text(str(config))
    settings = ServeSettings(ssl_config_file=str(tmp_path / "ssl.txt"))
    options = server_options(settings, port="auto", rest_port=None)
    running = start_serving([ModelConfig("m", model_base)], grpc=options.grpc)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 3), np.float32)))

    def ask(*pair: Path) -> Any:
        shown = [path.read_bytes() for path in pair]
        credentials = grpc.ssl_channel_credentials(ours.ca.read_bytes(), *shown)
        with grpc.secure_channel(running.server.address, credentials) as channel:
            return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=20)

    assert ask(*ours.issue("client")).outputs["y"].float_val[0] == 4.0
    for pair in ((), theirs.issue("stranger")):
        with pytest.raises(grpc.RpcError) as caught:
            ask(*pair)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def tflite_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export directory with a .tflite of batch 1: `y = x @ [[1, 2], [3, 4], [5, 6]]`."""
    folder = tmp_path_factory.mktemp("tflite")
    module = tf.Module()
    weights = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    spec = tf.TensorSpec([1, 3], tf.float32, "x")
    module.apply = tf.function(lambda x: {"y": tf.matmul(x, weights)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder / "source"), {"serving_default": module.apply})
    content = tf.lite.TFLiteConverter.from_saved_model(str(folder / "source")).convert()
    (folder / "mine" / "tflite" / "1").mkdir(parents=True)
    (folder / "mine" / "attnexport.json").write_text("{}")
    (folder / "mine" / "tflite" / "1" / "mine.float32.tflite").write_bytes(content)
    return folder / "mine"


def test_a_tflite_of_batch_1_answers_a_batch_of_5_over_both_edges(
    start_serving: Callable[..., Any], tflite_export: Path
) -> None:
    from attnexport.workflows.serve_settings import ServeSettings
    from attnexport.workflows.serve_sources import model_source

    configs = model_source(str(tflite_export), ServeSettings())()
    assert "mine.float32" in [config.name for config in configs]
    running = start_serving(configs)
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    wanted = x @ np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    reply = running.predict({"x": x}, name="mine.float32")
    np.testing.assert_array_equal(tf.make_ndarray(reply.outputs["y"]), wanted)
    assert reply.model_spec.version.value == 1
    status, answer = running.http("/v1/models/mine.float32:predict", {"instances": x.tolist()})
    assert (status, answer) == (200, {"predictions": wanted.tolist()})
    status, answer = running.http("/v1/models/mine.float32/metadata")
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert [dim["size"] for dim in signature["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "3"]
    for shape in ([1, 4], [0, 3]):
        with pytest.raises(grpc.RpcError) as caught:
            running.predict({"x": np.ones(shape, np.float32)}, name="mine.float32")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
