"""`ax.serve`: a server as a context manager, in this process and in a child."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnexport as ax
from attnexport.core.errors import ArgumentError, ContentError, StorageError, UnavailableError

pytestmark = pytest.mark.usefixtures("forked_children")

X = {"x": np.ones((2, 3), np.float32)}


def settings_for(base: Path, **more: Any) -> ax.ServeSettings:
    return ax.ServeSettings(model_base_path=str(base), model_name="m", **more)


@pytest.mark.parametrize("in_child", [False, True])
def test_it_serves_for_the_time_of_its_block(model_base: Path, in_child: bool) -> None:
    with ax.serve(settings=settings_for(model_base), in_child=in_child) as server:
        assert server.grpc_address is not None
        with ax.Client(server.grpc_address, model="m", timeout=20) as client:
            np.testing.assert_array_equal(client.predict(X)["y"], 2 * X["x"] + 2)
        with urllib.request.urlopen(f"{server.rest_address}/v1/models/m", timeout=20) as reply:
            assert json.load(reply)["model_version_status"][0]["state"] == "AVAILABLE"
        document = json.loads(server.to_json())
        assert (document["grpc"], document["rest"]) == (server.grpc_address, server.rest_address)
        assert document["models"][0]["versions"][0] == {"version": 2, "state": "AVAILABLE", "error": ""}
        shown = str(server).splitlines()
        assert shown[:3] == [f"gRPC  {server.grpc_address}", f"REST  {server.rest_address}", "  m  version 2 AVAILABLE"]
        assert "version 2 AVAILABLE" in server._repr_html_()
    with ax.Client(server.grpc_address, model="m", timeout=0.5) as client, pytest.raises(UnavailableError):
        client.predict(X)


@pytest.mark.parametrize("in_child", [False, True])
def test_a_server_that_does_not_start_says_why(tmp_path: Path, in_child: bool) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(ContentError, match=f"nothing to serve: version 1: .*{tmp_path}"):
        ax.serve(settings=settings_for(tmp_path), in_child=in_child).__enter__()
    with pytest.raises(ArgumentError, match="EXPORT nowhere does not exist"):
        ax.serve("nowhere", in_child=in_child).__enter__()


def test_ports_are_chosen_and_a_taken_one_is_named(model_base: Path) -> None:
    with ax.serve(settings=settings_for(model_base), rest_port=None) as server:
        assert server.rest_address is None
        assert server.grpc_address is not None
        port = int(server.grpc_address.rpartition(":")[2])
        with pytest.raises(StorageError, match=f"gRPC cannot listen on 127.0.0.1:{port}"):
            ax.serve(settings=settings_for(model_base), port=port)
    with pytest.raises(ArgumentError, match="are both 9600"):
        ax.serve(settings=settings_for(model_base), port=9600, rest_port=9600)


def test_new_versions_and_exports_are_followed_and_requests_logged(model_base: Path, tmp_path: Path) -> None:
    """Of an export: what its directory comes to hold."""
    export = tmp_path / "m"
    shutil.copytree(model_base / "1", export / "saved_model" / "1")
    (export / "attnexport.json").write_text("{}")
    lines: list[str] = []
    settings = ax.ServeSettings(file_system_poll_wait_seconds=0.05)
    with ax.serve(export, settings=settings, on_access=lines.append) as server:
        assert server.grpc_address is not None
        with ax.Client(server.grpc_address, model="m", timeout=20) as client:
            assert client.predict(X).version == 1
            shutil.copytree(model_base / "2", tmp_path / "2")
            (tmp_path / "2").rename(export / "saved_model" / "2")
            client.wait_until_ready(version=2)
            assert client.predict(X).version == 2
        deadline = time.monotonic() + 20
        while sum(line.startswith('GRPC Predict "m" OK ') for line in lines) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sum(line.startswith('GRPC Predict "m" OK ') for line in lines) == 2


def test_the_child_ends_with_its_block_and_with_this_process(
    run_python: Callable[..., subprocess.CompletedProcess[str]], model_base: Path
) -> None:
    code = (
        "import os, sys\nimport attnexport as ax\n"
        "settings = ax.ServeSettings(model_base_path=sys.argv[1])\n"
        "server = ax.serve(settings=settings, in_child=True)\nserver.start()\n"
        "print(server._child.pid, flush=True)\nos._exit(7)\n"
    )
    done = run_python(code, str(model_base))
    assert done.returncode == 7, done.stderr
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the child outlived its parent")


def test_events_are_logged_and_a_listening_address_beyond_the_loopback_is_a_warning(
    model_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "attnexport.serve")
    with ax.serve(settings=settings_for(model_base, host="0.0.0.0")) as server:
        assert server.grpc_address is not None
    records = {record.message: record.levelname for record in caplog.records if record.name == "attnexport.serve"}
    warning = "warning: listening on 0.0.0.0 without TLS: everyone who reaches this port can send requests"
    assert records.pop(warning) == "WARNING"
    assert any(message.startswith("model 'm' version 2 is available") for message in records)
    assert set(records.values()) == {"INFO"}


def test_require_tls_refuses_to_listen_in_plain_beyond_the_loopback(model_base: Path) -> None:
    for host, rest_port, named in (("0.0.0.0", 0, "ssl_config_file="), ("::", "auto", "rest_port=0")):
        with pytest.raises(ArgumentError, match=f"ServeSettings\\(require_tls=…\\): .*{named}"):
            ax.serve(settings=settings_for(model_base, host=host, require_tls=True), rest_port=rest_port)
    with ax.serve(settings=settings_for(model_base, require_tls=True)) as server:
        assert server.rest_address is not None


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no unix sockets here")
def test_port_0_is_no_port_and_the_socket_is_the_address(model_base: Path, tmp_path: Path) -> None:
    path = os.path.relpath(tmp_path / "s")  # the names of sockets are short
    settings = settings_for(model_base, grpc_socket_path=path)
    with ax.serve(settings=settings, port=0, rest_port=0) as server:
        assert server._server.address is None  # type: ignore[attr-defined]
        assert (server.grpc_address, server.rest_address) == (f"unix:{path}", None)
        with ax.Client(f"unix:{path}", model="m", timeout=20) as client:
            np.testing.assert_array_equal(client.predict(X)["y"], 2 * X["x"] + 2)
        assert f"gRPC  unix:{path}" in str(server)
        assert f"attnexport metadata --server unix:{path} --model m" in str(server)
    with pytest.raises(ArgumentError, match=r"port is 0 and there is no ServeSettings\(grpc_socket_path=…\)"):
        ax.serve(settings=settings_for(model_base), port=0)


# A graph with PyFunc runs where its token is registered: in the process that imported this.
OPERATOR = """\
from tensorflow.python.ops import script_ops

def triple(x):
    return 3 * x

script_ops._py_funcs._funcs["triple"] = triple
"""


@pytest.mark.parametrize("in_child", [False, True])
def test_modules_are_imported_where_the_models_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_child: bool
) -> None:
    import tensorflow as tf

    def run(x: Any) -> Any:
        y = tf.raw_ops.PyFunc(input=[x], token="triple", Tout=[tf.float32])[0]
        return {"y": tf.ensure_shape(y, [None, 3])}

    module = tf.Module()
    module.run = tf.function(run, input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "base" / "1"), signatures={"serving_default": module.run})
    name = f"operators_{in_child}".lower()
    (tmp_path / f"{name}.py").write_text(OPERATOR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    settings = settings_for(tmp_path / "base")
    with ax.serve(settings=settings, imports=[name], trust=True, in_child=in_child) as server:
        assert server.grpc_address is not None
        with ax.Client(server.grpc_address, model="m", timeout=20) as client:
            np.testing.assert_array_equal(client.predict(X)["y"], 3 * X["x"])
    with pytest.raises(ArgumentError, match="there is no module 'nowhere'"):
        ax.serve(settings=settings, imports=["nowhere"], in_child=in_child).__enter__()


@pytest.mark.parametrize(
    ("operator", "help_text"),
    [
        (
            "TFText>NgramsStringJoin",
            "the package tensorflow-text has it; install it and give imports=\\['tensorflow_text'\\]",
        ),
        ("WordpieceTokenizeWithOffsets", "the package tensorflow-text has it"),
        ("SimpleMLInferenceOp", "the package tensorflow-decision-forests has it"),
        ("MineOnly", "give imports=\\[MODULE\\] with the module that registers it"),
    ],
)
def test_an_operator_that_is_not_registered_is_named_with_its_package(
    model_base: Path, tmp_path: Path, operator: str, help_text: str
) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(model_base / "1", tmp_path / "1")
    path = tmp_path / "1" / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    [graph] = saved_model.meta_graphs
    graph.graph_def.node.add(name="other", op=operator)
    path.write_bytes(saved_model.SerializeToString())
    with pytest.raises(ContentError, match=f"Op type not registered '{operator}': {help_text}"):
        ax.serve(settings=settings_for(tmp_path)).__enter__()
