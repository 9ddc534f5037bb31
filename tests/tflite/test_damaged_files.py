"""Damaged .tflite files: the check of the flatbuffer or a child process refuses them, and this process goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.tools import flatbuffer_utils

from attnexport.core import AttnexportError, GateError, ModelError, child_process
from attnexport.serving.server import ModelConfig, Server, ServerOptions
from attnexport.serving.server.versions import State
from attnexport.tflite import TFLiteRunner
from attnexport.tflite.flatbuffer_check import check_model
from attnexport.tflite.graph import parse_model, read_graph
from attnexport.tflite.probe import RunCheck
from attnexport.workflows.serve_models import ArtifactLoader

pytestmark = pytest.mark.slow

SCHEMA = flatbuffer_utils.schema_fb
FLIPPED_FILES = 60


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two dense layers and a softmax over a product of two activations, 3 KB."""
    generator = np.random.default_rng(0)
    first, second = (tf.constant(generator.standard_normal((8, 8)), tf.float32) for _ in range(2))

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 8), tf.float32, name="x")])
    def attend(x: Any) -> dict[str, Any]:
        query, key = x @ first, tf.nn.relu(x @ second)
        return {"y": tf.nn.softmax(tf.matmul(query, key, transpose_b=True)) @ key}

    path = str(tmp_path_factory.mktemp("attend"))
    tf.saved_model.save(tf.Module(), path, signatures=attend)
    return bytes(tf.lite.TFLiteConverter.from_saved_model(path).convert())


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    model = parse_model(content)
    change(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def operator(model: Any, name: str) -> Any:
    """The first operator of a kind."""
    return next(
        each
        for each in model.subgraphs[0].operators
        if flatbuffer_utils.opcode_to_name(model, each.opcodeIndex) == name
    )


def leave_out_input(model: Any) -> None:
    product = operator(model, "BATCH_MATMUL")
    product.inputs = [-1, int(product.inputs[1])]


def leave_out_output(model: Any) -> None:
    operator(model, "BATCH_MATMUL").outputs = [-1]


def shorten_constant(model: Any) -> None:
    tensor = model.subgraphs[0].tensors[operator(model, "FULLY_CONNECTED").inputs[1]]
    model.buffers[tensor.buffer].data = model.buffers[tensor.buffer].data[:-4]


def move_zero_point(model: Any) -> None:
    """Found by flipping bytes: SIGSEGV."""
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    tensor.type, tensor.quantization = SCHEMA.TensorType.INT8, SCHEMA.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1], [-4278190081]


def turn_round(model: Any) -> None:
    model.subgraphs[0].operators.reverse()


def call(target: int) -> Callable[[Any], None]:
    """Make an operator a call of a subgraph."""

    def change(model: Any) -> None:
        product = operator(model, "BATCH_MATMUL")
        product.builtinOptionsType = SCHEMA.BuiltinOptions.WhileOptions
        product.builtinOptions = SCHEMA.WhileOptionsT()
        product.builtinOptions.condSubgraphIndex = product.builtinOptions.bodySubgraphIndex = target
        code = model.operatorCodes[product.opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = SCHEMA.BuiltinOperator.WHILE

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (leave_out_input, "subgraph 0: BATCH_MATMUL has no input 0, which it needs"),
        (leave_out_output, "subgraph 0: BATCH_MATMUL has an output without a tensor"),
        (shorten_constant, r"has 252 bytes; its shape \[8, 8\] needs 256"),
        (move_zero_point, "has zero point -4278190081, which its type cannot hold"),
        (turn_round, "reads tensor .*, which nothing computed before"),
        (call(0), "subgraph 0 calls itself, directly or through others"),
        (call(7), "subgraph 0 calls subgraph 7, of 1 there are"),
    ],
)
def test_damage_is_named(change: Callable[[Any], None], message: str, content: bytes, tmp_path: Path) -> None:
    damaged = changed(content, change)
    with pytest.raises(ModelError, match=message):
        read_graph(damaged)
    file = tmp_path / "model.tflite"
    file.write_bytes(damaged)
    with pytest.raises(ModelError, match=f"model.tflite is a damaged .tflite file: .*{message}"):
        ArtifactLoader().load(file)


def test_a_large_constant_lies_within_the_file(content: bytes) -> None:
    """It stands behind the flatbuffer, which has its offset and size."""
    model = parse_model(content)
    tensor = model.subgraphs[0].tensors[operator(model, "FULLY_CONNECTED").inputs[1]]
    buffer = model.buffers[tensor.buffer]
    buffer.data, buffer.offset, buffer.size = None, len(content), 256
    check_model(model, len(content) + 256)
    with pytest.raises(ValueError, match="ends after the file"):
        check_model(model, len(content) + 255)


def test_a_bias_may_be_left_out(content: bytes) -> None:
    def change(model: Any) -> None:
        dense = operator(model, "FULLY_CONNECTED")
        dense.inputs = [int(dense.inputs[0]), int(dense.inputs[1]), -1]

    file = changed(content, change)
    read_graph(file)
    x = {"x": np.ones((1, 4, 8), np.float32)}
    np.testing.assert_array_equal(TFLiteRunner(file).run(x)["y"], TFLiteRunner(content).run(x)["y"])


def test_flipped_bytes_never_end_the_process(content: bytes, tmp_path: Path) -> None:
    """Each file loads and runs, or is refused with an error of ours."""
    generator, file, loader, loaded = random.Random(5), tmp_path / "model.tflite", ArtifactLoader(), 0
    for _ in range(FLIPPED_FILES):
        flipped = bytearray(content)
        for _ in range(generator.choice([1, 2, 4])):
            flipped[generator.randrange(len(flipped))] = generator.choice([0, 255, generator.randrange(256)])
        file.write_bytes(flipped)
        try:
            model = loader.load(file)
        except AttnexportError:
            continue
        loaded += 1
        model.close()
    assert 0 < loaded < FLIPPED_FILES


def test_a_crash_of_the_child_is_an_error(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    with RunCheck() as check:
        check(file, compiled=True)
    monkeypatch.setattr(child_process, "_BOOTSTRAP", "import os; os.kill(os.getpid(), 11)")
    with (
        RunCheck() as check,
        pytest.raises(GateError, match=r"in a child process, it crashes the interpreter \(signal 11"),
    ):
        check(file)


def test_the_child_ends_when_it_has_no_work(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(content)
    monkeypatch.setattr("attnexport.tflite.probe._IDLE_SECONDS", 0.05)
    check = RunCheck()
    check(file)
    timer = check._timer
    assert timer is not None
    timer.join()
    assert check._child.pid is None
    check(file)  # another one starts
    check.close()


def test_a_server_goes_on_when_a_new_version_is_damaged(content: bytes, tmp_path: Path) -> None:
    def write(version: int, data: bytes) -> None:
        (tmp_path / "m" / str(version)).mkdir(parents=True)
        (tmp_path / "m" / str(version) / "model.tflite").write_bytes(data)

    write(1, content)
    options = ServerOptions(port=0, rest_port=None, poll_seconds=0)
    server = Server(ArtifactLoader(prefer_tflite=True), options, on_event=lambda text: None)
    server.start([ModelConfig("m", tmp_path / "m")])
    try:
        write(2, changed(content, leave_out_input))
        for _ in range(2):  # the first scan sees files that have just changed
            server.manager.scan()
        damaged, good = server.manager.statuses("m")
        assert (damaged.state, good.state) == (State.END, State.AVAILABLE)
        assert "BATCH_MATMUL has no input 0, which it needs" in damaged.message
    finally:
        server.stop()
