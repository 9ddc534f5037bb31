"""`serve --workers`: processes on the same ports, which answer, count and end as one server does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

import attnexport as ax
from attnexport.core.errors import ArgumentError, ContentError, StorageError
from tests.serving.rest_connections import Load
from tests.waiting import eventually

pytestmark = pytest.mark.slow
REQUEST = b'{"instances": [[1.0, 2.0]]}'


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path of a .tflite, whose workers need no TensorFlow: `y = 2 x`."""
    folder = tmp_path_factory.mktemp("workers")
    double = tf.function(lambda x: {"y": x * 2.0}).get_concrete_function(x=tf.TensorSpec([1, 2], tf.float32, "x"))
    content = tf.lite.TFLiteConverter.from_concrete_functions([double], tf.Module()).convert()
    (folder / "m" / "1").mkdir(parents=True)
    (folder / "m" / "1" / "model.tflite").write_bytes(content)
    return folder / "m"


class Served:
    """A server of two workers, and what they told."""

    def __init__(self, base: Path) -> None:
        self.events: list[str] = []
        settings = ax.ServeSettings(
            model_base_path=str(base), model_name="m", prefer_tflite_model=True, workers=2,
            file_system_poll_wait_seconds=0.1,
        )  # fmt: skip
        self.server: Any = ax.serve(settings=settings, on_event=self.events.append)

    def http(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Over a connection of its own, which any worker may take."""
        try:
            with urllib.request.urlopen(f"{self.server.rest_address}{path}", body, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def count(self, code: str) -> float:
        text = self.http("/monitoring/prometheus/metrics")[1]
        lines = [line for line in text.splitlines() if f'model_name="m",status="{code}"' in line]
        return float(lines[0].split()[-1]) if lines else 0.0


@pytest.fixture(scope="module")
def served(base: Path) -> Iterator[Served]:
    served = Served(base)
    with served.server:
        yield served


def test_both_edges_answer_and_count_together(served: Served) -> None:
    before = served.count("OK")
    for _ in range(8):
        assert json.loads(served.http("/v1/models/m:predict", REQUEST)[1]) == {"predictions": [[2.0, 4.0]]}
        with ax.Client(served.server.grpc_address, model="m", timeout=60) as client:
            outputs = client.predict({"x": np.ones((1, 2), np.float32)})
            np.testing.assert_array_equal(outputs["y"], np.full((1, 2), 2.0))
    assert served.count("OK") == before + 16
    text = served.http("/monitoring/prometheus/metrics")[1]
    assert 'request_latency_bucket{API="predict",entrypoint="REST",le="10",model_name="m"}' in text
    assert len(set(served.server.pids)) == 2
    assert [model["name"] for model in served.server.to_dict()["models"]] == ["m"]


def test_a_reload_would_reach_one_and_is_refused(served: Served) -> None:
    with grpc.insecure_channel(served.server.grpc_address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="2 workers, of which a reload would reach one") as refused:
            stub.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_one_that_dies_is_told_and_started_again_and_its_counts_stay(served: Served) -> None:
    served.http("/v1/models/m:predict", REQUEST)
    before, (dying, other) = served.count("OK"), served.server.pids
    os.kill(dying, signal.SIGKILL)
    assert served.http("/v1/models/m:predict", REQUEST)[0] == 200, "the other one answers"
    eventually(lambda: "worker 1: it serves again" in served.events)
    assert any(event.startswith("warning: worker 1: it was killed (signal 9)") for event in served.events)
    assert served.server.pids[0] not in (None, dying)
    assert served.server.pids[1] == other
    assert served.count("OK") == before + 1
    for _ in range(8):
        served.http("/v1/models/m:predict", REQUEST)
    assert served.count("OK") == before + 9
    [folder] = Path(tempfile.gettempdir()).glob(f"attnexport-workers-{os.getpid()}-*")
    assert {path.name for path in folder.iterdir()} <= {f"{k}_{n}.db" for k in ("counter", "histogram") for n in (1, 2)}


def test_a_new_version_is_swapped_in_by_each(served: Served, base: Path) -> None:
    shutil.copytree(base / "1", base / "writing")
    os.rename(base / "writing", base / "2")

    def is_everywhere() -> bool:
        return all(
            served.http("/v1/models/m/versions/2:predict", REQUEST)[0] == 200
            and served.http("/v1/models/m/versions/1:predict", REQUEST)[0] == 404
            for _ in range(20)
        )

    eventually(is_everywhere)


def test_what_workers_cannot_do_together_is_refused_by_name(base: Path, tmp_path: Path) -> None:
    def refusal(kind: type[Exception], **options: Any) -> str:
        more = options.pop("settings", {})
        settings = ax.ServeSettings(model_base_path=str(base), workers=2, **more)
        with pytest.raises(kind) as refused:
            ax.serve(settings=settings, **options)
        return str(refused.value)

    assert "ServeSettings(grpc_socket_path=…) and ServeSettings(workers=…)" in refusal(
        ArgumentError, settings={"grpc_socket_path": "/tmp/x"}
    )
    assert "on_access and ServeSettings(workers=…)" in refusal(ArgumentError, on_access=print)
    for shares in (False, True):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            assert "another server is there; give another port" in refusal(StorageError, port=port)
            assert "another server is there; give another rest_port" in refusal(StorageError, rest_port=port)


def test_workers_that_do_not_start_say_why(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.tflite").write_bytes(b"no model")
    settings = ax.ServeSettings(model_base_path=str(tmp_path), prefer_tflite_model=True, workers=2)
    with pytest.raises(ContentError, match="nothing to serve: version 1: "):
        ax.serve(settings=settings).__enter__()


def command(base: Path) -> tuple[subprocess.Popen[str], Any]:
    """A command that serves by two workers, and what it printed."""
    words = [str(Path(sys.executable).parent / "attnexport"), "serve", "--model_base_path", str(base), "--port=auto"]
    words += ["--model_name=m", "--prefer_tflite_model", "--rest_api_port=auto", "--workers=2", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")


def test_a_killed_command_leaves_no_counts_behind(base: Path) -> None:
    process, document = command(base)
    pattern = f"attnexport-workers-{process.pid}-*"
    assert json.loads(urllib.request.urlopen(f"{document['rest']}/v1/models/m:predict", REQUEST).read())
    assert list(Path(tempfile.gettempdir()).glob(pattern))
    process.kill()
    process.communicate(timeout=60)
    eventually(lambda: not list(Path(tempfile.gettempdir()).glob(pattern)))


def test_sigterm_drains_all_workers_and_ends_the_command_with_0(base: Path) -> None:
    process, document = command(base)
    load = Load(document["rest"], REQUEST)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    load.end()
    assert (process.returncode, out, load.wrong) == (0, "", []), err
    host, port = urlparse(document["rest"]).netloc.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port))).close()
