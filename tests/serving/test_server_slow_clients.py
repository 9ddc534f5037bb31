"""Clients that are slow to send keep nobody else waiting, and those that send nothing are ended."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from attnexport.serving.server import GrpcOptions, ModelConfig, workers
from attnexport.serving.server.workers import Workers
from tests.waiting import eventually

X = {"x": np.ones((1, 3), np.float32)}
PREDICT = "/tensorflow.serving.PredictionService/Predict"
CONTROL = (
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/grpc.health.v1.Health/Check",
)


@contextlib.contextmanager
def silent(address: str, method: str, count: int) -> Iterator[list[Any]]:
    """Calls that are open and send nothing, over a connection of their own."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        calls = [channel.stream_unary(method).future(nothing()) for _ in range(count)]
        try:
            yield calls
        finally:
            for call in calls:
                call.cancel()
            over.set()


def waiting(running: Any) -> list[int]:
    """How many calls wait for their message in each pool."""
    return [len(pool._waiting) for pool in running.server._grpc._pools]


@pytest.fixture
def served(start_serving: Any, model_base: Any) -> Callable[..., Any]:
    def start(**options: Any) -> Any:
        return start_serving(
            [ModelConfig("m", model_base)], grpc=GrpcOptions(threads=1, health_service=True, **options)
        )

    return start


def test_silent_calls_keep_no_method_from_being_answered_and_leave_no_threads(served: Callable[..., Any]) -> None:
    running = served()
    pools, health = running.server._grpc._pools, health_pb2_grpc.HealthStub(running.channel)
    with contextlib.ExitStack() as stack:
        stack.enter_context(silent(running.server.address, PREDICT, 6))
        for method in CONTROL:
            stack.enter_context(silent(running.server.address, method, 3))
        eventually(lambda: waiting(running) == [6, 9, 3])
        for _ in range(20):
            assert running.predict(X).model_spec.version.value == 2
        spec = {"name": "m"}
        asked = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        assert running.predictions.GetModelMetadata(asked, timeout=30).model_spec.version.value == 2
        status = running.models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=spec), timeout=30)
        assert status.model_version_status
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=30).status == 1
    eventually(lambda: [pool._alive for pool in pools] == [1, 4, 1])
    assert [pool._places.qsize() for pool in pools] == [1, 4, 1]
    assert running.predict(X).model_spec.version.value == 2


def test_a_call_without_a_message_is_ended_in_time_and_one_with_a_late_message_is_answered(
    served: Callable[..., Any],
) -> None:
    running = served(message_seconds=0.3)
    with silent(running.server.address, PREDICT, 2) as calls:
        assert [call.exception(30).code() for call in calls] == [grpc.StatusCode.CANCELLED] * 2
    come = threading.Event()

    def late() -> Iterator[bytes]:
        assert come.wait(60)
        request = predict_pb2.PredictRequest(model_spec={"name": "m"})
        request.inputs["x"].CopyFrom(tensor())
        yield request.SerializeToString()

    running = served()
    call = running.channel.stream_unary(PREDICT).future(late())
    eventually(lambda: waiting(running) == [1, 0, 0])
    assert running.predict(X).model_spec.version.value == 2
    come.set()
    assert predict_pb2.PredictResponse.FromString(call.result(30)).model_spec.version.value == 2


def tensor() -> Any:
    import tensorflow as tf

    return tf.make_tensor_proto(X["x"])


def test_no_message_at_all_is_refused(served: Callable[..., Any]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        served().channel.stream_unary(PREDICT)(iter(()), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "exactly one request message" in (caught.value.details() or "")


def test_with_too_many_silent_calls_those_that_have_waited_longest_make_room(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_MAX_SLOW", 4)
    monkeypatch.setattr(workers, "_MAX_SPARE", 0)
    monkeypatch.setattr(workers, "_SAFE", 0.01)
    running = served()
    with silent(running.server.address, PREDICT, 12) as calls:
        for _ in range(5):
            assert running.predict(X).model_spec.version.value == 2
        eventually(lambda: sum(call.done() for call in calls) >= 7)
        assert running.server._grpc._pools[0]._alive <= 5


def test_watchers_of_the_health_hold_no_thread_that_answers_and_end_with_the_server(served: Callable[..., Any]) -> None:
    running = served()
    health = health_pb2_grpc.HealthStub(running.channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60) for name in ("", "x") * 5]
    assert [next(each).status for each in watches] == [1, 3] * 5
    for _ in range(5):
        assert health.Check(health_pb2.HealthCheckRequest(service="ModelService"), timeout=30).status == 1
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="x"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watches.pop().cancel()
    watches.pop().cancel()
    eventually(lambda: waiting(running)[1] == 8)
    begin = time.monotonic()
    running.server.stop()
    assert [[each.status for each in watch] for watch in watches] == [[2], []] * 4
    assert time.monotonic() - begin < running.server._options.grace_seconds, "no watcher keeps it from ending"


def test_as_many_run_at_once_as_there_are_places_however_many_threads_there_are() -> None:
    pool, go, done = Workers(2), threading.Event(), threading.Semaphore(0)
    running, most, lock = 0, 0, threading.Lock()

    def slow_message() -> Iterator[bytes]:
        assert go.wait(60)
        yield b"x"

    def task() -> None:
        nonlocal running, most
        assert pool.receive(slow_message(), lambda: None) == b"x"
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1

    for _ in range(12):
        pool.submit(task).add_done_callback(lambda _: done.release())
    eventually(lambda: len(pool._waiting) == 12)
    go.set()
    for _ in range(12):
        assert done.acquire(timeout=60)
    assert most <= 2
    eventually(lambda: pool._alive == 2)
    pool.shutdown()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted on Linux")
def test_idle_half_open_cancelled_and_expired_clients_leave_nothing_behind(served: Callable[..., Any]) -> None:
    """What `benchmarks/hostile_clients.py` measures, without its clock."""
    running = served()
    pools = running.server._grpc._pools
    running.predict(X)
    assert running.http("/v1/models/m")[0] == 200
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    request = predict_pb2.PredictRequest(model_spec={"name": "m"})
    request.inputs["x"].CopyFrom(tensor())
    with contextlib.ExitStack() as stack:
        for address in (running.server.address, running.server.rest_address.removeprefix("http://")):
            host, port = address.rsplit(":", 1)
            for data in (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST /v1/models/m:predict HTTP/1.1\r\nx: "):
                for _ in range(10):
                    connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
                    connection.sendall(data)
        with grpc.insecure_channel(running.server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary(PREDICT, request_serializer=predict_pb2.PredictRequest.SerializeToString)
            for _ in range(40):
                call.future(request, timeout=30).cancel()
            expired = [call.future(request, timeout=1e-6) for _ in range(40)]
            ends = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK}  # some are faster
            assert {each.code() for each in expired} <= ends
            for _ in range(10):
                assert running.predict(X).model_spec.version.value == 2
                assert running.http("/v1/models/m:predict", {"inputs": [[1, 2, 3]]})[0] == 200
    eventually(lambda: [len(pool._waiting) for pool in pools] == [0, 0, 0])
    eventually(lambda: [pool._alive for pool in pools] == [pool._places.qsize() for pool in pools] == [1, 4, 1])
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
