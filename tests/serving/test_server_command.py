"""What `attnexport serve` takes: its flags, bad arguments, a unix socket; and how it ends with an error."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "nothing to serve"),
        (["nope"], 2, "does not exist"),
        (["."], 2, "holds no export"),
        (["--model_base_path=nope"], 2, "is not a directory"),
        (["--model_base_path=.", "--model_name="], 2, "--model_name is empty"),
        ([".", "--model_base_path=."], 2, "EXPORT and --model_base_path"),
        ([".", "--model_config_file=bad.txt"], 2, "EXPORT and --model_config_file"),
        (["--model_config_file=nope"], 2, "tensorflow.serving.ModelServerConfig"),
        (["--model_config_file=bad.txt"], 3, "tensorflow.serving.ModelServerConfig"),
        (["--model_config_file=empty.txt"], 3, "tensorflow.serving.ModelServerConfig"),
        (["--model_base_path=.", "--batching_parameters_file=bad.txt"], 2, "--enable_batching"),
        (["--model_base_path=.", "--batching_parameters_file=bad.txt", "--enable_batching"], 3, "BatchingParameters"),
        (["--model_base_path=.", "--ssl_config_file=bad.txt"], 3, "tensorflow.serving.SSLConfig"),
        (["--model_base_path=.", "--ssl_config_file=empty.txt"], 3, "server_key"),
        (["--model_base_path=.", "--monitoring_config_file=bad.txt"], 3, "tensorflow.serving.MonitoringConfig"),
        (["--model_base_path=.", "--port=70000"], 2, "is not a port"),
        (["--model_base_path=.", "--tensorflow_intra_op_parallelism=-1"], 2, "not in the range x>=0"),
        (["--model_base_path=.", "--port=9600", "--rest_api_port=9600"], 2, "are both 9600"),
        (["--model_base_path=gs://bucket/m"], 2, "is not a directory on this machine"),
        (["--model_base_path=.", "--enable_batching=maybe"], 2, "neither true nor false"),
        (["--model_base_path=.", "--grpc_channel_arguments=a"], 2, "has no value"),
        (["--model_base_path=broken", "--port=auto"], 3, "nothing to serve: version 1"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    attnexport: Run, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "bad.txt").write_text("nonsense: {")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"no graph")
    got, out, err = attnexport("serve", *arguments)
    assert (got, out) == (code, ""), err
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, err
    assert words in lines[0]


STUBBORN = """
import gc, sys, threading
import attnexport.workflows.embedded
from attnexport.cli.main import main
from attnexport.core.errors import ContentError

class Stubborn:
    address = rest_address = None

    def __init__(self, *arguments, **options):
        pass

    def start(self, configs):
        threading.Thread(target=threading.Event().wait).start()  # which Python would wait for
        raise ERROR

    def stop(self):
        return False

attnexport.workflows.embedded.Server = Stubborn
main(["serve", "--model_base_path=.", "--json"])
"""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [("ContentError('no model')", 3, "attnexport: no model\n"), ("BrokenPipeError()", 141, "")],
)
def test_it_ends_with_the_error_under_way_where_a_request_never_ends(
    run_python: Any, error: str, code: int, words: str
) -> None:
    done = run_python(STUBBORN.replace("ERROR", error))
    assert (done.returncode, done.stderr) == (code, words)
    if words:
        assert json.loads(done.stdout)["error"]["exit_code"] == code


def test_what_it_imports_is_frozen_before_models_load(run_python: Any, tmp_path: Path) -> None:
    """Of what is frozen nothing is freed, so models must not be."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    seen = "ContentError(f\"{gc.get_freeze_count() > 0} {'tensorflow' in sys.modules}\")"
    assert run_python(STUBBORN.replace("ERROR", seen)).stderr == "attnexport: True True\n"


def test_flags_are_taken_in_every_way_of_writing(attnexport: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from attnexport.core.errors import ContentError
    from attnexport.workflows.serve_settings import ServeSettings

    given: dict[str, Any] = {}

    def record(*arguments: Any, **options: Any) -> Any:
        given.update(options, export=arguments[0])
        raise ContentError("recorded")

    monkeypatch.setattr("attnexport.workflows.serve.serve", record)
    ways = (
        ["--enable_batching", "--rest-api-port=7", "--model_name", "n", "x"],
        ["--enable-batching=true", "--rest_api_port", "7", "--model-name=n", "x"],
        ["--enable_batching", "true", "--rest_api_port=7", "--model_name=n", "--", "x"],
    )
    for words in ways:
        assert attnexport("serve", *words)[0] == 3
        assert (given["settings"], given["rest_port"]) == (ServeSettings(enable_batching=True, model_name="n"), 7)
        assert (given["port"], given["export"]) == (8500, "x")
    _, _, err = attnexport("serve", "--flush_filesystem_caches", "--port=7", "--enable-profiler", "x")
    assert (given["port"], given["rest_port"], given["export"]) == (7, 8501, "x")
    assert err.splitlines()[:2] == [
        f"note: --{name} has no effect in the embedded server"
        for name in ("enable_profiler", "flush_filesystem_caches")
    ]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no unix sockets here")
def test_a_unix_socket_health_and_metrics_path(start_serving: Any, model_base: Path, tmp_path: Path) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from attnexport.serving.server import GrpcOptions, ModelConfig, RestOptions

    path = Path(os.path.relpath(tmp_path / "s"))  # the names of sockets are short
    running = start_serving(
        [ModelConfig("m", model_base)],
        grpc=GrpcOptions(socket_path=str(path), health_service=True),
        rest=RestOptions(metrics_path="/here"),
    )
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 3), np.float32)))
    with grpc.insecure_channel(f"unix:{path}") as channel:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
        assert answer.model_spec.version.value == 2
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "ModelService", "PredictionService"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == 1
    text = running.http("/here")[1]
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 1.0' in text
    assert "# TYPE :tensorflow:serving:request_count counter" in text
    assert 'request_latency_bucket{API="Predict",entrypoint="GRPC",le="10",model_name="m"}' in text
    assert "_created" not in text
    assert running.http("/monitoring/prometheus/metrics")[0] == 404
