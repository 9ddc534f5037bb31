"""Whatever arrives at either edge gets an answer or a refusal, and right tensors come back right."""

from __future__ import annotations

import gc
import json
import random
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow_serving.apis import predict_pb2

KINDS = {
    "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "UNDECODABLE",
}  # fmt: skip
TENSORS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 4), st.just(3)),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)
INTEGERS = arrays.arrays(np.int64, st.tuples(st.integers(1, 4), st.just(2)), elements=st.integers(-(2**40), 2**40))
SHARED = settings(max_examples=60, suppress_health_check=list(HealthCheck))


def in_process(serving: Any, inputs: dict[str, Any], signature: str = "serving_default") -> dict[str, Any]:
    from attnexport.serving.codec import ServedModel

    with serving.server.manager.hold(ServedModel("m")) as version:
        found: dict[str, Any] = version.model.run(inputs, signature, ())
        return found


@SHARED
@given(x=TENSORS)
def test_grpc_gives_what_the_model_gives_in_process(serving: Any, x: Any) -> None:
    reply = serving.predict({"x": x})
    for name, wanted in in_process(serving, {"x": x}).items():
        np.testing.assert_array_equal(tf.make_ndarray(reply.outputs[name]), wanted)


@SHARED
@given(x=TENSORS)
def test_rest_gives_what_the_model_gives_in_process(serving: Any, x: Any) -> None:
    if not len(x):
        return  # JSON has no shape for no rows
    status, answer = serving.http("/v1/models/m:predict", {"inputs": x.tolist()})
    assert status == 200
    np.testing.assert_array_equal(np.float32(answer["outputs"]["y"]), in_process(serving, {"x": x})["y"])


@SHARED
@given(numbers=INTEGERS)
def test_both_edges_agree_on_integers(serving: Any, numbers: Any) -> None:
    x = np.zeros((len(numbers), 3), np.float32)
    wanted = in_process(serving, {"numbers": numbers, "x": x}, "two")["sum"]
    reply = serving.predict({"numbers": numbers, "x": x}, signature="two")
    np.testing.assert_array_equal(tf.make_ndarray(reply.outputs["sum"]), wanted)
    rows = [{"numbers": one.tolist(), "x": other.tolist()} for one, other in zip(numbers, x, strict=True)]
    _, answer = serving.http("/v1/models/m:predict", {"instances": rows, "signature_name": "two"})
    np.testing.assert_array_equal(np.float32(answer["predictions"]), wanted)


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(changed) + 1)
        what = chance.randrange(3)
        if what == 0 and place < len(changed):
            changed[place] = chance.randrange(256)
        elif what == 1:
            changed[place:place] = chance.randbytes(chance.randint(1, 8))
        else:
            del changed[place : place + chance.randint(1, 8)]
    return bytes(changed)


def fuzz_grpc(serving: Any, chance: random.Random, rounds: int) -> set[str]:
    """Send damaged messages to every method; the codes that they end with."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((2, 3), np.float32)))
    request.output_filter.append("y")
    whole = request.SerializeToString()
    methods = ["Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"]
    calls = [serving.channel.unary_unary(f"/tensorflow.serving.PredictionService/{name}") for name in methods]
    calls.append(serving.channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus"))
    codes = set()
    for number in range(rounds):
        data = mutated(whole, chance) if number % 4 else chance.randbytes(chance.randint(0, 60))
        call = calls[0] if number % 2 else calls[number % len(calls)]
        try:
            call(data, timeout=60)
        except grpc.RpcError as error:
            undecodable = "the bytes of the request are not a" in (error.details() or "")  # INTERNAL, as by TF Serving
            codes.add("UNDECODABLE" if undecodable else error.code().name)
    return codes


def fuzz_rest(serving: Any, chance: random.Random, rounds: int) -> set[int]:
    """Post damaged bodies; the statuses that they end with."""
    bodies = [
        json.dumps({"instances": [{"x": [1, 2, 3]}], "signature_name": "serving_default"}).encode(),
        json.dumps({"signature_name": "classify", "examples": [{"x": [1.0, 2.0, 3.0]}]}).encode(),
    ]
    codes = set()
    for number in range(rounds):
        verb = "predict" if number % 2 else "classify"
        status, answer = serving.http(f"/v1/models/m:{verb}", mutated(bodies[1 - number % 2], chance))
        codes.add(status)
        assert status == 200 or "bug of attnexport" not in answer["error"]
    return codes


def test_damaged_messages_are_refused_and_nothing_of_ours_breaks(serving: Any) -> None:
    """Of every method: another INTERNAL would be a bug of ours, UNAVAILABLE a dead server."""
    codes = fuzz_grpc(serving, random.Random(0), 1500)
    assert codes <= KINDS, codes
    assert "INVALID_ARGUMENT" in codes
    assert serving.predict({"x": np.ones((1, 3), np.float32)}).model_spec.version.value == 2


def test_damaged_bodies_are_refused_and_nothing_of_ours_breaks(serving: Any) -> None:
    codes = fuzz_rest(serving, random.Random(1), 600)
    assert codes <= {200, 400, 501}
    assert 400 in codes


def test_damaged_requests_do_not_grow_the_memory(serving: Any) -> None:
    """A leak of a message or a tensor a request would be many times the bound; the client is in this process, too."""
    chance = random.Random(2)

    def resident_mb() -> float:
        gc.collect()
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((50_000, 3), np.float32)))
    whole = request.SerializeToString()

    def rounds() -> None:
        fuzz_grpc(serving, chance, 400)
        fuzz_rest(serving, chance, 80)
        for _ in range(20):  # what is right but for its last byte has been read, and is let go
            large = whole[:-1]
            with pytest.raises(grpc.RpcError):
                serving.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(large, timeout=60)
            assert serving.http("/v1/models/m:predict", b'{"inputs": [' + b"[1, 2, 3]," * 20_000)[0] == 400

    rounds()
    before = resident_mb()
    for _ in range(3):
        rounds()
    assert resident_mb() - before < 20


def test_names_that_clients_make_up_do_not_fill_the_metrics(serving: Any) -> None:
    for number in range(150):
        serving.http(f"/v1/models/made-up-{number}:predict", {"inputs": 1})
    text = serving.http("/monitoring/prometheus/metrics")[1]
    assert 'request_count{model_name="made-up-0",status="NOT_FOUND"} 1.0' in text
    assert text.count('model_name="made-up') <= 100
    assert 'model_name="(unknown)",status="NOT_FOUND"' in text


def test_a_request_of_more_bytes_than_allowed_is_refused(start_serving: Any, model_base: Any) -> None:
    from attnexport.serving.server import GrpcOptions, ModelConfig

    running = start_serving([ModelConfig("m", model_base)], grpc=GrpcOptions(max_message_bytes=2000))
    x = np.ones((400, 3), np.float32)
    with pytest.raises(grpc.RpcError) as caught:
        running.predict({"x": x})
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    packed = grpc.insecure_channel(running.server.address, compression=grpc.Compression.Gzip)
    with packed, pytest.raises(grpc.RpcError) as caught:  # by what it is unpacked, too
        packed.unary_unary("/tensorflow.serving.PredictionService/Predict")(bytes(1 << 20), timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.predict({"x": x[:2]}).outputs["y"].float_val[0] == 4.0
