"""The embedded server's throughput beside a Python gRPC server that computes nothing, as ratios of one run.

    python benchmarks/server.py [--seconds N]

Each server is a process of its own, on the loopback; the client is this process, with a fixed number of requests in
flight. The null servers take and give messages of the same sizes: one has the four threads that such servers are
written with, one as few as ours runs models in, which is the faster of the two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import grpc
import numpy as np

from attnexport.serving.codec import ServedModel, encode_predict_request

BIN = Path(sys.executable).parent
_ROUNDS = 12
_THREADS = max(2, len(os.sched_getaffinity(0)))  # of `attnexport serve`
METHOD = "/tensorflow.serving.PredictionService/Predict"

NULL = """
import sys, grpc
from concurrent.futures import ThreadPoolExecutor
reply = b"x" * int(sys.argv[1])
handler = grpc.unary_unary_rpc_method_handler(lambda request, context: reply)
server = grpc.server(ThreadPoolExecutor(int(sys.argv[2])))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
    "tensorflow.serving.PredictionService", {"Predict": handler}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"""

# What one writes first: tf.saved_model.load, the signature function, TensorFlow's own codec.
NAIVE = """
import sys, grpc, tensorflow as tf
from concurrent.futures import ThreadPoolExecutor
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc as stubs
function = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
class Service(stubs.PredictionServiceServicer):
    def Predict(self, request, context):
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        reply = predict_pb2.PredictResponse()
        for key, value in function(**inputs).items():
            reply.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return reply
server = grpc.server(ThreadPoolExecutor(4))
stubs.add_PredictionServiceServicer_to_server(Service(), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"""


@contextmanager
def process(words: list[str]):
    """A server process; ended by closing what it reads, or by SIGTERM."""
    running = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield running
    finally:
        running.terminate()
        running.communicate()


@contextmanager
def script(code: str, *arguments: str):
    """A server written as a script, which prints its port."""
    with process([sys.executable, "-c", code, *arguments]) as running:
        yield f"127.0.0.1:{int(running.stdout.readline())}"


@contextmanager
def ours(*arguments: str):
    """`attnexport serve`; gives its gRPC address and models."""
    with process(
        [str(BIN / "attnexport"), "serve", *arguments, "--port=auto", "--rest_api_port=0", "--json"]
    ) as running:
        lines = []
        for line in running.stdout:
            lines.append(line)
            if line == "}\n":
                break
        yield json.loads("".join(lines))["grpc"]


def throughput(address: str, request: bytes, in_flight: int, seconds: float) -> float:
    """Requests a second, of `in_flight` at a time over two connections."""
    count, lock = 0, threading.Lock()
    channels = [grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(2)]
    calls = [channel.unary_unary(METHOD) for channel in channels]
    for call in calls:
        for _ in range(50):
            call(request, timeout=60)
    slots = threading.Semaphore(in_flight)
    failures: list[BaseException] = []

    def done(future: grpc.Future) -> None:
        nonlocal count
        error = future.exception()
        with lock:
            count += 1
        if error:
            failures.append(error)
        slots.release()

    begin, number = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        slots.acquire()
        calls[number % 2].future(request, timeout=60).add_done_callback(done)
        number += 1
    elapsed, finished = time.perf_counter() - begin, count
    for _ in range(in_flight):
        slots.acquire()
    for channel in channels:
        channel.close()
    if failures:
        raise failures[0]
    return finished / elapsed


def measure(sides: dict[str, tuple[str, bytes]], in_flight: int, seconds: float) -> dict[str, list[float]]:
    """Rates of each side, in turn and in short slices: whatever else the machine does meets all of them."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(_ROUNDS):
        for name, (address, request) in sides.items():
            rates[name].append(throughput(address, request, in_flight, seconds / _ROUNDS))
    return rates


def ratio(rates: dict[str, list[float]], side: str, other: str) -> float:
    """The median over the rounds."""
    return median(one / another for one, another in zip(rates[side], rates[other], strict=True))


def small_models(seconds: float, folder: Path) -> None:
    """The seed classifier at 8 in flight: against nothing, and against the signature function."""
    run([str(BIN / "attnexport"), "savedmodel"], folder)
    with_tflite = (
        "tflite"
        in subprocess.run([str(BIN / "attnexport"), "--help"], capture_output=True, text=True, check=True).stdout
    )
    if with_tflite:
        run([str(BIN / "attnexport"), "tflite"], folder)
    export = folder / "export" / "classifier"
    x = np.random.default_rng(0).normal(size=(1, 10, 64)).astype(np.float32)

    def request(model: str) -> bytes:
        return encode_predict_request(ServedModel(model), {"sequence": x})

    with ours(str(export)) as address, script(NAIVE, str(export / "saved_model" / "1")) as naive:
        with grpc.insecure_channel(address) as channel:
            size = len(channel.unary_unary(METHOD)(request("classifier"), timeout=60))
        with script(NULL, str(size), "4") as null, script(NULL, str(size), str(_THREADS)) as null_of_few:
            sides = {
                "null": (null, request("classifier")),
                f"null, {_THREADS} threads": (null_of_few, request("classifier")),
                "session": (address, request("classifier")),
                "signature function": (naive, request("classifier")),
            }
            if with_tflite:
                sides["LiteRT"] = (address, request("classifier.float32"))
            rates = measure(sides, 8, seconds)
    for name, each in rates.items():
        print(f"{name:<20} {median(each):8.0f} requests/s   {ratio(rates, name, 'null'):.2f} of null")
    over = ratio(rates, "session", "signature function")
    print(f"session / signature function: {over:.2f}   [at least 2.5]")
    print(f"session / null: {ratio(rates, 'session', 'null'):.2f}   [at least 0.75]")
    if with_tflite:
        print(f"LiteRT / null: {ratio(rates, 'LiteRT', 'null'):.2f}   [at least 0.9]")


def batching(seconds: float, folder: Path) -> None:
    """At 32 in flight, batched and not: of a model that mostly reads its weights, and of one that mostly computes."""
    parameters = folder / "batching.txt"
    parameters.write_text("max_batch_size { value: 32 } batch_timeout_micros { value: 1000 }")
    for name, (steps, features, d_model, units) in {
        "weights": (4, 256, 512, 2048),
        "steps": (64, 128, 256, 512),
    }.items():
        sizes = f"--steps {steps} --features {features} --d-model {d_model} --units {units} --name {name}"
        preset = ["--preset", "multihead-classifier", *sizes.split()]
        run([str(BIN / "attnexport"), "savedmodel", *preset], folder)
        base = f"--model_base_path={folder / 'export' / name / 'saved_model'}"
        x = np.random.default_rng(0).normal(size=(1, steps, features)).astype(np.float32)
        request = encode_predict_request(ServedModel("default"), {"sequence": x})
        with (
            ours(base) as plain,
            ours(base, "--enable_batching", f"--batching_parameters_file={parameters}") as batched,
        ):
            rates = measure({"plain": (plain, request), "batched": (batched, request)}, 32, seconds)
            single = throughput(plain, request, 1, seconds)
        print(
            f"\nbatching, many {name}: {1000 / single:.1f} ms a call alone; "
            f"{median(rates['plain']):.0f} and {median(rates['batched']):.0f} requests/s"
        )
        aim = "   [at least 1.5]" if name == "weights" else ""
        print(f"batched / unbatched at 32 in flight: {ratio(rates, 'batched', 'plain'):.2f}{aim}")


def run(words: list[str], folder: Path) -> None:
    """A command that must succeed."""
    subprocess.run(words, cwd=folder, check=True, capture_output=True)


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each side, in all")
    seconds = parser.parse_args().seconds
    parts: list[Callable[[float, Path], None]] = [small_models, batching]
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            part(seconds, Path(folder))


if __name__ == "__main__":
    main()
