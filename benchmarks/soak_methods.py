"""Every method of both edges and the client, 16 at a time, right and wrong, with constant garbage collection.

    python benchmarks/soak_methods.py [--seconds N] [--in-flight N] [--seed N]

Three processes: the server, a load over raw gRPC and HTTP, and a Client that as many threads share. All collect garbage
after every 50 allocations. Each request is asked once at the start, and must always end with the same code; prints the
requests, what differed, the memory of the server and of the client, and how each process ended.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_OFTEN = 50  # allocations between two garbage collections
NAME = "m"
PREDICTION, MODELS = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"

# y = x / 2 + 2, with signatures to predict, classify and regress.
MODEL = """
import sys, tensorflow as tf
v1 = tf.compat.v1
with v1.Graph().as_default() as graph, v1.Session(graph=graph) as session:
    serialized = v1.placeholder(tf.string, [None], name="examples")
    x = tf.identity(v1.io.parse_example(serialized, {"x": v1.io.FixedLenFeature([1], tf.float32)})["x"])
    y = x * v1.get_variable("half", initializer=0.5) + 2.0
    session.run(v1.global_variables_initializer())
    info, define = v1.saved_model.utils.build_tensor_info, v1.saved_model.signature_def_utils.build_signature_def
    examples = {"inputs": info(serialized)}
    builder = v1.saved_model.Builder(sys.argv[1])
    builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map={
        "serving_default": define({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"),
        "classify": define(examples, {"scores": info(y)}, "tensorflow/serving/classify"),
        "regress": define(examples, {"outputs": info(y)}, "tensorflow/serving/regress")})
    builder.save()
"""
SERVER = f"""
import gc
gc.set_threshold({_OFTEN}, 5, 5)
from attnexport.cli.main import main
main()
"""


def grpc_requests(base: str) -> list[tuple[str, bytes]]:
    """Methods and requests; those that are wrong are wrong in the model, the signature, the content or the bytes."""
    from attnexport.core.tf_example import write_example
    from attnexport.serving.codec import ServedModel, encode_predict_request
    from attnexport.serving.messages import (
        ClassificationRequest,
        GetModelMetadataRequest,
        GetModelStatusRequest,
        MultiInferenceRequest,
        RegressionRequest,
        ReloadConfigRequest,
    )

    requests = []
    for name, signature, array in (
        (NAME, "", np.ones((3, 1), np.float32)),
        (NAME, "", np.ones((3, 1), np.float64)),
        ("nope", "", np.ones((3, 1), np.float32)),
        (NAME, "nope", np.ones((3, 1), np.float32)),
        (NAME, "classify", np.array([b"no example"], object)),
    ):
        model = ServedModel(name, signature=signature)
        requests.append((f"{PREDICTION}Predict", encode_predict_request(model, {"x": array})))
    for method, kind, right, other in (
        ("Classify", ClassificationRequest, "classify", "regress"),
        ("Regress", RegressionRequest, "regress", "classify"),
    ):
        for signature, features in ((right, {"x": 2.0}), (other, {"x": 2.0}), ("nope", {"x": 2.0}), (right, None)):
            request = kind(model_spec={"name": NAME, "signature_name": signature})
            if features is not None:
                write_example(features, request.input.example_list.examples.add())
            requests.append((f"{PREDICTION}{method}", request.SerializeToString()))
    for signature in ("classify", "nope"):
        request = MultiInferenceRequest()
        for each, method in ((signature, "classify"), ("regress", "regress")):
            spec = {"name": NAME, "signature_name": each}
            request.tasks.add(model_spec=spec, method_name=f"tensorflow/serving/{method}")
        requests.append((f"{PREDICTION}MultiInference", request.SerializeToString()))
        write_example({"x": 2.0}, request.input.example_list.examples.add())
        requests.append((f"{PREDICTION}MultiInference", request.SerializeToString()))
    for field in ("signature_def", "nope"):
        request = GetModelMetadataRequest(model_spec={"name": NAME}, metadata_field=[field])
        requests.append((f"{PREDICTION}GetModelMetadata", request.SerializeToString()))
    for name in (NAME, "nope"):
        request = GetModelStatusRequest(model_spec={"name": name})
        requests.append((f"{MODELS}GetModelStatus", request.SerializeToString()))
    for platform in ("tensorflow", "nope"):
        request = ReloadConfigRequest()
        request.config.model_config_list.config.add(name=NAME, base_path=base, model_platform=platform)
        requests.append((f"{MODELS}HandleReloadConfigRequest", request.SerializeToString()))
    return requests + [(method, b"\xff\xff") for method, _ in requests[::4]]


def rest_requests() -> list[tuple[str, str, bytes | None]]:
    """Methods, paths and bodies."""
    path = f"/v1/models/{NAME}"
    posts = [
        (f"{path}:predict", {"instances": [[1.0], [2.0]]}),
        (f"{path}:predict", {"inputs": [[1.0], [2.0]]}),
        (f"{path}:predict", {"instances": [["a"]]}),
        (f"{path}:predict", {"instances": [{"nope": 1}]}),
        ("/v1/models/nope:predict", {"instances": [1]}),
        (f"{path}:classify", {"signature_name": "classify", "examples": [{"x": 2.0}]}),
        (f"{path}:classify", {"signature_name": "regress", "examples": [{"x": 2.0}]}),
        (f"{path}:regress", {"signature_name": "regress", "examples": [{"x": 2.0}], "context": {"z": "a"}}),
        (f"{path}:regress", {"signature_name": "regress", "examples": []}),
        (f"{path}:explain", {}),
    ]
    gets = [path, f"{path}/metadata", f"{path}/versions/9", "/", "/nope", "/monitoring/prometheus/metrics"]
    return [
        *(("POST", where, json.dumps(body).encode()) for where, body in posts),
        ("POST", f"{path}:predict", b'{"instances": [1'),
        *(("GET", where, None) for where in gets),
        ("DELETE", path, None),
    ]


def client_calls(client: Any) -> list[Callable[[], object]]:
    """Calls of a Client, right and wrong."""
    x = np.ones((3, 1), np.float32)
    return [
        lambda: client.predict({"x": x}),
        lambda: client.predict({"x": x}, outputs=["y"]),
        lambda: client.predict({"nope": x}),
        lambda: client.predict({"x": x}, model="nope"),
        lambda: client.classify([{"x": 2.0}], signature="classify"),
        lambda: client.classify([{"x": 2.0}], signature="regress"),
        lambda: client.regress([{"x": 2.0}], signature="regress"),
        lambda: client.regress([{"nope": 2.0}], signature="regress"),
        client.metadata,
        lambda: client.metadata(model="nope"),
        client.status,
        lambda: client.status(model="nope"),
    ]


def raw_calls(rpc: str, rest: str, base: str) -> list[Callable[[], object]]:
    """All requests over both edges; each gives its code."""
    import grpc

    channels = [grpc.insecure_channel(rpc, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(2)]
    connections = threading.local()

    def ask_grpc(number: int, method: str, data: bytes) -> str:
        try:
            channels[number % 2].unary_unary(method)(data, timeout=120)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    def ask_rest(method: str, path: str, body: bytes | None) -> int:
        if not hasattr(connections, "one"):
            connections.one = http.client.HTTPConnection(rest, timeout=120)
        connections.one.request(method, path, body)
        answer = connections.one.getresponse()
        answer.read()
        return answer.status

    calls: list[Callable[[], object]] = []
    for number, (method, data) in enumerate(grpc_requests(base)):
        calls.append(lambda number=number, method=method, data=data: ask_grpc(number, method, data))
    for each in rest_requests():
        calls.append(lambda each=each: ask_rest(*each))
    return calls


def outcome(call: Callable[[], object]) -> str:
    """A call's code, or its error's name."""
    try:
        found = call()
    except Exception as error:
        return type(error).__name__
    return str(found) if isinstance(found, str | int) else "OK"


def load(kind: str, rpc: str, rest: str, base: str, seconds: float, in_flight: int, seed: int) -> None:
    """A process that asks without end; prints what it did as JSON."""
    from attnexport.serving import Client, Retry

    gc.set_threshold(_OFTEN, 5, 5)
    client = Client(rpc, model=NAME, timeout=120, retry=Retry(attempts=1))
    calls = client_calls(client) if kind == "client" else raw_calls(rpc, rest, base)
    wanted = [outcome(call) for call in calls]
    counts: collections.Counter[str] = collections.Counter()
    different: list[str] = []
    until = time.monotonic() + seconds

    def ask(number: int) -> None:
        chance, asked = random.Random(seed + number), 0
        while time.monotonic() < until:
            place = chance.randrange(len(calls))
            found = outcome(calls[place])
            asked += 1
            if found != wanted[place]:
                different.append(f"call {place}: {found}, not {wanted[place]}")
        counts["asked"] += asked

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    result = {"asked": counts["asked"], "different": len(different), "first": different[:3], "codes": wanted}
    print(json.dumps(result), flush=True)


def resident_mb(pid: int) -> float:
    """The memory of a process that is in RAM, in MB; NaN if it is gone."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS"))
    return float("nan")


def soak(folder: Path, seconds: float, in_flight: int, seed: int) -> bool:
    """Run it all; whether everything was as it should be."""
    base = folder / "served"
    subprocess.run([sys.executable, "-c", MODEL, str(base / "1")], check=True, capture_output=True)
    words = [sys.executable, "-P", "-c", SERVER, "serve", f"--model_base_path={base}", f"--model_name={NAME}"]
    words += ["--port=auto", "--rest_api_port=auto", "--enable_grpc_healthcheck_service", "--json", "--quiet"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    document = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")
    rest = document["rest"].removeprefix("http://")
    loads = {
        kind: subprocess.Popen(
            [
                *(sys.executable, __file__, "--load", kind, document["grpc"], rest, str(base)),
                *(f"--seconds={seconds}", f"--in-flight={in_flight}", f"--seed={seed}"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for kind in ("raw", "client")
    }
    memory: dict[str, list[tuple[float, float]]] = {"server": [], "client": []}
    begin, good = time.monotonic(), True
    while loads["raw"].poll() is None and server.poll() is None:
        now = time.monotonic() - begin
        memory["server"].append((now, resident_mb(server.pid)))
        memory["client"].append((now, resident_mb(loads["client"].pid)))
        time.sleep(1)
    for kind, process in loads.items():
        out, _ = process.communicate()
        result = json.loads(out or "{}")
        print(f"{kind}: ended with {process.returncode}; {json.dumps({**result, 'codes': None})}")
        print(f"  codes: {dict(collections.Counter(result.get('codes', [])))}")
        good &= process.returncode == 0 and not result["different"]
    for name, values in memory.items():
        later = [each for each in values if each[0] > seconds / 4 and each[1] == each[1] and each[1] > 1]
        if len(later) > 2:
            slope = np.polyfit(*zip(*later, strict=True), 1)[0] * 60
            print(f"{name}: {later[0][1]:.0f} to {later[-1][1]:.0f} MB, slope {slope:+.2f} MB a minute")
    server.terminate()
    server.communicate()
    print(f"the server ended with {server.returncode}")
    return good and server.returncode == 0


def main() -> None:
    """Run it for as long as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--load", nargs=4, metavar=("KIND", "GRPC", "REST", "BASE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load(*options.load, options.seconds, options.in_flight, options.seed)
        os._exit(0)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(not soak(Path(folder), options.seconds, options.in_flight, options.seed))


if __name__ == "__main__":
    main()
