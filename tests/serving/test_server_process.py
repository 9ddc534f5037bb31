"""`attnexport serve` as a process: what it prints, signals, a second server, and a configuration that changes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.forks import ForkedPython
from tests.serving.rest_connections import Load

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]


class Child:
    """A server in a process of its own, ready."""

    def __init__(self, command: str, *arguments: str | Path, cwd: Path) -> None:
        words = [command, "serve", *map(str, arguments), "--json"]
        self.process = subprocess.Popen(
            words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        self.document = json.loads("".join(lines) or "{}")

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def http(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.document['rest']}{path}", timeout=60) as answer:
            return json.loads(answer.read())


@pytest.fixture
def child(forks: ForkedPython, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    started: list[Child] = []

    def start(*arguments: str | Path) -> Child:
        started.append(Child(forks.attnexport, *arguments, cwd=tmp_path))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate(timeout=60)


def request_for(name: str, **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def predict(channel: grpc.Channel, name: str, **inputs: Any) -> Any:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict(request_for(name, **inputs), timeout=60)


def test_an_export_alone_is_served_and_sigterm_ends_it_with_0(
    child: Callable[..., Child], exported_classifier: Any
) -> None:
    server = child(exported_classifier.directory, "--port=auto", "--rest-api-port", "auto")
    document = server.document
    assert document["grpc"].startswith("127.0.0.1:")
    assert [(model["name"], model["versions"][0]["state"]) for model in document["models"]] == [
        (exported_classifier.directory.name, "AVAILABLE")
    ]
    name = document["models"][0]["name"]
    x = np.random.default_rng(1).normal(size=(3, 10, 64)).astype(np.float32)
    with grpc.insecure_channel(document["grpc"]) as channel:
        answer = tf.make_ndarray(predict(channel, name, sequence=x).outputs["logits"])
    from attnexport.exporter import SavedModelRunner

    runner = SavedModelRunner(exported_classifier.path)
    np.testing.assert_allclose(answer, runner.run({"sequence": x})["logits"], rtol=1e-5, atol=1e-5)
    runner.close()
    assert server.http(f"/v1/models/{name}")["model_version_status"][0]["state"] == "AVAILABLE"
    code, out, err = server.end()
    assert (code, out) == (0, "")
    assert all(line.startswith("note: ") for line in err.splitlines()), err


def test_sigterm_lets_running_requests_end_and_an_interrupt_is_130(
    child: Callable[..., Child], serving_models: Any, tmp_path: Path
) -> None:
    base = slow_model(tmp_path / "slow")
    server = child("--model_base_path", base, "--port=auto", "--model_name=slow", "--grace_seconds=60")
    assert server.document["rest"] is None, "as with TF Serving, REST is off until it has a port"
    with grpc.insecure_channel(server.document["grpc"]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        asked = stub.Predict.future(request_for("slow", rounds=np.int32(3000)), timeout=60)
        # It is in once a later one is answered.
        predict(channel, "slow", rounds=np.int32(1))
        code, _, _ = server.end()
        assert asked.result().model_spec.version.value == 1
    assert code == 0
    (tmp_path / "empty").mkdir()  # which needs no TensorFlow
    again = child("--model_base_path", tmp_path / "empty", "--port=auto")
    assert again.end(signal.SIGINT)[0] == 130


@contextlib.contextmanager
def endless_call(server: Child, edge: str) -> Iterator[None]:
    """A call that takes days, which is in."""
    rounds = 2**31 - 1
    if edge == "grpc":
        with grpc.insecure_channel(server.document["grpc"]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            asked = stub.Predict.future(request_for("default", rounds=np.int32(rounds)))
            # It is in once a later one is answered.
            predict(channel, "default", rounds=np.int32(1))
            yield
            assert isinstance(asked.exception(), grpc.RpcError)
        return
    body = f'{{"inputs": {rounds}}}'
    head = f"POST /v1/models/default:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with connected(server) as rest:
        rest.sendall(f"{head}{body}".encode())
        server.http("/v1/models/default")
        yield


def connected(server: Child) -> socket.socket:
    host, port = server.document["rest"].removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


def wait_until_refused(server: Child) -> None:
    for _ in range(600):
        try:
            connected(server).close()
        except ConnectionError:
            return
        threading.Event().wait(0.1)
    raise AssertionError("it listens still")


@pytest.mark.parametrize("edge", ["grpc", "rest"])
def test_sigterm_ends_it_after_the_grace_where_a_request_never_ends(
    child: Callable[..., Child], tmp_path: Path, edge: str
) -> None:
    base = slow_model(tmp_path / "slow")
    server = child("--model_base_path", base, "--port=auto", "--rest_api_port=auto", "--grace_seconds=1")
    with endless_call(server, edge):
        code, out, err = server.end()
    assert (code, out) == (0, "")
    assert "still runs a request" in err


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_while_it_waits_for_a_request_that_never_ends(
    child: Callable[..., Child], tmp_path: Path, first: int
) -> None:
    base = slow_model(tmp_path / "slow")
    server = child("--model_base_path", base, "--port=auto", "--rest_api_port=auto", "--grace_seconds=3600")
    with endless_call(server, "rest"):
        server.process.send_signal(first)
        wait_until_refused(server)  # which is how one sees that it ends
        code, out, err = server.end(signal.SIGINT)
    assert code == 130
    assert json.loads(out)["error"] == {"kind": "Abort", "message": "interrupted", "exit_code": 130}
    assert err.endswith("attnexport: interrupted\n")


def test_sigterm_under_rest_load_answers_each_request_that_it_took_and_ends_within_the_grace(
    child: Callable[..., Child], model_base: Path
) -> None:
    """The access log has each request that was answered, and the clients have as many answers."""
    server = child(
        "--model_base_path", model_base, "--port=auto", "--rest_api_port=auto", "--access_log", "--grace_seconds=60"
    )
    load = Load(server.document["rest"], b'{"instances": [[1, 2, 3]]}', "/v1/models/default:predict")
    begin = time.monotonic()
    code, _, err = server.end()
    assert time.monotonic() - begin < 60, "the grace"
    load.end()
    assert (code, load.wrong) == (0, [])
    assert err.count("REST Predict") == load.answers


def slow_model(base: Path) -> Path:
    """A model that multiplies as often as it is told."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        rounds = v1.placeholder(tf.int32, [], "rounds")
        body = lambda i, m: (i + 1, tf.linalg.matmul(m, m) * 0.0 + 1.0)  # noqa: E731
        _, last = tf.while_loop(lambda i, m: i < rounds, body, [0, tf.ones([64, 64])])
        infos = [
            {"rounds": v1.saved_model.utils.build_tensor_info(rounds)},
            {"last": v1.saved_model.utils.build_tensor_info(last)},
        ]
        definition = v1.saved_model.signature_def_utils.build_signature_def(*infos, "tensorflow/serving/predict")
        builder = v1.saved_model.Builder(str(base / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": definition})
        builder.save()
    return base


def test_a_second_server_on_the_port_says_so(
    child: Callable[..., Child], attnexport: Run, model_base: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    server = child("--model-base-path", tmp_path / "empty", "--port", "auto", "--rest_api_port=auto")
    port, rest = server.document["grpc"].rpartition(":")[2], server.document["rest"].rpartition(":")[2]
    for arguments in ((f"--port={port}",), ("--port=auto", f"--rest_api_port={rest}")):
        code, out, err = attnexport("serve", "--model_base_path", model_base, *arguments)
        assert (code, out) == (3, "")
        assert "another server" in err
        assert err.count("\n") == 1


def test_configuration_file_is_followed(child: Callable[..., Child], model_base: Path, tmp_path: Path) -> None:
    entry = f'config {{ name: "NAME" base_path: "{model_base}" model_platform: "tensorflow" }}'
    config = tmp_path / "models.config"
    config.write_text(f"model_config_list {{ {entry.replace('NAME', 'a')} }}")
    server = child(
        f"--model_config_file={config}", "--port=auto", "--rest_api_port=auto",
        "--model_config_file_poll_wait_seconds=0.1", "--model_name=model", "--model_base_path=/models/model",
    )  # fmt: skip
    assert [model["name"] for model in server.document["models"]] == ["a"]
    (tmp_path / "new").write_text(f"model_config_list {{ {entry.replace('NAME', 'b')} }}")
    os.rename(tmp_path / "new", config)
    state = ""
    for _ in range(600):
        try:
            state = server.http("/v1/models/b")["model_version_status"][0]["state"]
        except urllib.error.HTTPError as error:  # not known yet
            error.close()
        if state == "AVAILABLE":
            break
        threading.Event().wait(0.1)
    assert state == "AVAILABLE"
    assert "--model_base_path has no effect" in server.end()[2]


def test_it_binds_the_loopback_alone_and_warns_when_it_opens_up(child: Callable[..., Child], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    server = child("--model_base_path", tmp_path / "empty", "--port=auto", "--host=0.0.0.0", "--enable_profiler=true")
    assert server.document["grpc"].startswith("0.0.0.0:")
    code, _, err = server.end()
    assert code == 0
    assert "warning: listening on 0.0.0.0 without TLS" in err
    assert "--enable_profiler has no effect" in err
