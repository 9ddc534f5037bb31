"""The client against tensorflow-serving-api used the documented way, and ovmsclient where it is installed.

These machines are noisy: both sides take turns in one run, each pair gives one ratio, and their median counts.

    python benchmarks/client.py [--runs N]

ovmsclient is compared from an environment of its own, which attnexport does not need: OVMSCLIENT_PYTHON names the
interpreter of one where it is installed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np

Timed = Callable[[], object]
LARGE = (8192, 1024)  # 33.5 MB of float32
SMALL = (32, 640)  # 82 KB

# A process that answers any call with what the call asked with, or with a reply given on stdin.
NULL_SERVER = """
import sys
from concurrent import futures
import grpc
reply = sys.stdin.buffer.read()
class Null(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: reply)
options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(Null(),), options=options)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
"""
OURS = """
import sys, numpy as np
from attnexport.serving import Client
with Client(sys.argv[1], model="m") as client:
    client.predict({"x": np.ones((1, 640), "f")})
"""
THEIRS = """
import sys, grpc, numpy as np, tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 640), "f")))
    tf.make_ndarray(stub.Predict(request, 30).outputs["y"])
"""
OVMS = """
import sys, numpy as np
from ovmsclient import make_grpc_client
make_grpc_client(sys.argv[1]).predict({"x": np.ones((1, 640), "f")}, "m")
"""


@contextmanager
def null_server(reply: bytes) -> Any:
    """The address of a process that answers everything with `reply`."""
    with subprocess.Popen(
        [sys.executable, "-c", NULL_SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(reply)
        process.stdin.close()
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def process_cost(python: str, code: str, address: str) -> tuple[float, float]:
    """Seconds and peak megabytes of a whole process."""
    start = time.perf_counter()
    child = subprocess.Popen([python, "-c", code, address], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"a process of the benchmark failed: {python} -c {code}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def seconds(call: Timed, calls: int) -> float:
    """Seconds a call, over some."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def compare(title: str, ours: Timed, theirs: Timed, runs: int, claim: str, calls: int = 1) -> None:
    """Print how many times as long theirs takes."""
    for call in (ours, theirs):
        call()
    pairs = [(seconds(ours, calls), seconds(theirs, calls)) for _ in range(runs)]
    report(title, pairs, claim, "ms", 1000)


def report(title: str, pairs: list[tuple[float, float]], claim: str, unit: str, scale: float) -> None:
    """Print the medians of both sides and of the ratios theirs / ours."""
    ratios = sorted(theirs / ours for ours, theirs in pairs)
    mine, other = (statistics.median(side) * scale for side in zip(*pairs, strict=True))
    print(f"{title}\n  ours {mine:.3g} {unit}, theirs {other:.3g} {unit}; theirs / ours: ", end="")
    print(f"median {statistics.median(ratios):.3g}, {ratios[0]:.3g} to {ratios[-1]:.3g}   [{claim}]\n", flush=True)


def processes(runs: int) -> None:
    """Import and first predict, whole processes."""
    from attnexport.serving.codec import ServedModel, encode_predict_reply

    reply = encode_predict_reply(ServedModel("m", 1), {"y": np.ones((1, 10), "f")})
    with null_server(reply) as address:
        for name, python, code, claims in (
            ("tensorflow-serving-api", sys.executable, THEIRS, ("at least 8", "at least 6.7 (ours at most 0.15)")),
            ("ovmsclient", os.environ.get("OVMSCLIENT_PYTHON", ""), OVMS, ("no claim", "no claim")),
        ):
            if not python:
                print(f"{name}: not compared, OVMSCLIENT_PYTHON is not set\n")
                continue
            process_cost(python, code, address)  # once to warm the disk's cache
            pairs = [
                (process_cost(sys.executable, OURS, address), process_cost(python, code, address)) for _ in range(runs)
            ]
            for index, (what, unit) in enumerate((("time", "s"), ("peak memory", "MB"))):
                sides = [(ours[index], theirs[index]) for ours, theirs in pairs]
                report(f"Import and first predict, {what}, against {name}", sides, claims[index], unit, 1)


def codec(runs: int) -> None:
    """Encoding and decoding alone."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    from attnexport.serving.codec import decode_tensor, encode_tensor

    rng = np.random.default_rng(0)
    small, large = (rng.standard_normal(shape).astype("f") for shape in (SMALL, LARGE))
    encoded, parsed = encode_tensor(small), tf.make_tensor_proto(small)

    def both_ours() -> None:
        encode_tensor(small)
        decode_tensor(encoded)

    def both_theirs() -> None:
        tf.make_tensor_proto(small)
        tf.make_ndarray(parsed)

    compare("Encode and decode 82 KB", both_ours, both_theirs, 5 * runs, "at least 2", 500)
    compare("Encode 33.5 MB against memcpy", lambda: encode_tensor(large), large.tobytes, 5 * runs, "at least 0.77")
    data, message = encode_tensor(large), tf.make_tensor_proto(large)
    compare("Decode 33.5 MB", lambda: decode_tensor(data), lambda: tf.make_ndarray(message), 5 * runs, "no copy")
    assert np.shares_memory(decode_tensor(data), np.frombuffer(data, np.uint8))
    integers = rng.integers(0, 10, SMALL).astype("i4"), rng.integers(-5, 10**6, SMALL).astype("i4")
    for name, array, claim in (
        ("float32", small, "at least 20"),
        ("int32 below 10", integers[0], "at least 20"),
        ("int32 up to a million", integers[1], "no claim"),
    ):
        values = encode_tensor(array, "values")
        proto = tensor_pb2.TensorProto.FromString(values)
        compare(
            f"Read 82 KB of {name} in *_val", lambda v=values: decode_tensor(v), lambda p=proto: tf.make_ndarray(p),
            runs, claim, 50,
        )  # fmt: skip


def end_to_end(runs: int) -> None:
    """33.5 MB there, and 33.5 MB back, against a server that computes nothing."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from attnexport.serving import Client
    from attnexport.serving.codec import ServedModel, encode_predict_reply

    large = np.random.default_rng(0).standard_normal(LARGE).astype("f")
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    for name, output, form in (
        ("a small reply", np.ones((1, 10), "f"), "content"),
        ("33.5 MB back in tensor_content", large, "content"),
        ("33.5 MB back in float_val, which is TF Serving's default", large, "values"),
    ):
        reply = encode_predict_reply(ServedModel("m", 1), {"y": output}, form)  # type: ignore[arg-type]
        with (
            null_server(reply) as address,
            Client(address, model="m") as client,
            grpc.insecure_channel(address, options) as channel,
        ):
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

            def plain(stub: Any = stub) -> Any:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = "m"
                request.inputs["x"].CopyFrom(tf.make_tensor_proto(large))
                return tf.make_ndarray(stub.Predict(request, 60).outputs["y"])

            compare(
                f"Predict with 33.5 MB, {name}, end to end",
                lambda client=client: client.predict({"x": large}, timeout=60)["y"],
                plain, runs, "at least 2; gRPC's own transport is most of ours",
            )  # fmt: skip


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    processes(runs)
    codec(runs)
    end_to_end(runs)


if __name__ == "__main__":
    main()
