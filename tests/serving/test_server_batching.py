"""Batching: who shares a call, who is refused, and that a bad request fails alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from attnexport.core import Arrays, Signature, TensorSpec
from attnexport.core.errors import ArgumentError, ModelError
from attnexport.serving.server import BatchingOptions, Code, ModelConfig, StatusError
from attnexport.serving.server.batching import Batcher
from tests.waiting import eventually

SIGNATURE = Signature(
    "serving_default",
    (TensorSpec("x", "float32", (None, None)),),
    (TensorSpec("y", "float32", (None, None)),),
)


class Model:
    """Doubles its input; the first call waits until it is let go, so that others gather behind it."""

    runtime, signatures, definitions = "TF1", {SIGNATURE.name: SIGNATURE}, b""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered, self.go = threading.Event(), threading.Event()

    def run(self, inputs: Arrays, signature: str, outputs: Sequence[str]) -> Arrays:
        self.sizes.append((inputs["x"].shape or (1,))[0])
        self.entered.set()
        assert self.go.wait(60)
        if (inputs["x"] < 0).any():
            raise ModelError("negative")
        return {"y": 2 * inputs["x"]}


def rows(count: int, value: float = 1.0, width: int = 2) -> Arrays:
    return {"x": np.full((count, width), value, np.float32)}


def gathered(options: BatchingOptions, requests: Sequence[Arrays]) -> tuple[list[int], list[Any]]:
    """Run requests that all wait while a first one runs; sizes of the later calls, and what each request got."""
    model = Model()
    batcher = Batcher(model, options)
    results: list[Any] = [None] * len(requests)

    def ask(number: int, inputs: Arrays) -> None:
        try:
            results[number] = batcher.run(inputs, SIGNATURE, (), lambda: True)["y"]
        except Exception as error:
            results[number] = error

    first = threading.Thread(target=batcher.run, args=(rows(1), SIGNATURE, (), lambda: True))
    first.start()
    assert model.entered.wait(60)
    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(requests)]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(queue.size for queue in batcher._queues.values()) + sum(
        isinstance(result, Exception) for result in results) >= sum(len(each["x"]) for each in requests))  # fmt: skip
    model.go.set()
    for thread in [first, *threads]:
        thread.join()
    batcher.close()
    return model.sizes[1:], results


def test_requests_that_wait_share_one_call() -> None:
    sizes, results = gathered(BatchingOptions(num_batch_threads=1), [rows(2, 1), rows(3, 2), rows(1, 3)])
    assert sizes == [6]
    assert [(len(result), result[0, 0]) for result in results] == [(2, 2), (3, 4), (1, 6)]


def test_a_bad_request_fails_alone() -> None:
    sizes, results = gathered(BatchingOptions(num_batch_threads=1), [rows(1, 1), rows(1, -1), rows(1, 3)])
    assert sizes == [3, 1, 1, 1]
    assert isinstance(results[1], ModelError)
    assert [results[0][0, 0], results[2][0, 0]] == [2, 6]


def test_batches_are_filled_up_split_and_kept_apart_by_shape() -> None:
    padded = BatchingOptions(max_batch_size=8, allowed_batch_sizes=(4, 8), num_batch_threads=1)
    sizes, results = gathered(padded, [rows(2, 1), rows(3, 2)])
    assert (sizes, [len(result) for result in results]) == ([8], [2, 3])
    splitting = BatchingOptions(
        max_batch_size=8, enable_large_batch_splitting=True, max_execution_batch_size=4, num_batch_threads=1
    )
    sizes, results = gathered(splitting, [rows(6, 1)])
    assert (sizes, len(results[0])) == ([4, 2], 6)
    assert sorted(gathered(BatchingOptions(num_batch_threads=1), [rows(2), rows(3, width=5)])[0]) == [2, 3]
    joined = BatchingOptions(num_batch_threads=1, pad_variable_length_inputs=True)
    assert gathered(joined, [rows(2), rows(3, width=5)])[0] == [5]


def test_a_full_queue_is_unavailable_and_a_large_request_invalid() -> None:
    model = Model()
    batcher = Batcher(model, BatchingOptions(max_batch_size=2, max_enqueued_batches=1, num_batch_threads=1))
    ask = lambda count: batcher.run(rows(count), SIGNATURE, (), lambda: True)  # noqa: E731
    with pytest.raises(StatusError, match="larger than max_batch_size") as caught:
        ask(3)
    assert caught.value.code is Code.INVALID_ARGUMENT
    threads = [threading.Thread(target=ask, args=(2,))]
    threads[0].start()
    assert model.entered.wait(60)
    threads.append(threading.Thread(target=ask, args=(2,)))
    threads[1].start()
    eventually(lambda: bool(batcher._queues))
    with pytest.raises(StatusError) as caught:
        ask(1)
    assert caught.value.code is Code.UNAVAILABLE
    with pytest.raises(StatusError) as caught:  # nobody waits for it any more
        batcher.run({"x": np.ones((0, 2), np.float32)}, SIGNATURE, (), lambda: False)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    model.go.set()
    for thread in threads:
        thread.join()
    batcher.close()


@pytest.mark.parametrize(
    "wrong",
    [{"max_batch_size": 0}, {"allowed_batch_sizes": (4, 2)}, {"max_batch_size": 8, "allowed_batch_sizes": (2, 4)},
     {"batch_timeout_micros": -1}, {"max_execution_batch_size": 2000}],
)  # fmt: skip
def test_contradictions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        BatchingOptions(**wrong)


def test_a_server_with_batching_gives_each_client_its_own(start_serving: Any, model_base: Any) -> None:
    batching = BatchingOptions(max_batch_size=16, batch_timeout_micros=2000)
    running = start_serving([ModelConfig("m", model_base)], batching=batching)
    answers: dict[int, list[float]] = {}

    def ask(number: int) -> None:
        x = np.full((1 + number % 3, 3), number, np.float32)
        answers[number] = list(running.predict({"x": x}, outputs=["y"]).outputs["y"].float_val)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: [2.0 * n + 2] * 3 * (1 + n % 3) for n in range(24)}
    metrics = running.http("/monitoring/prometheus/metrics")[1]
    assert 'batching_session:queuing_latency_count{model_name="m"} 24.0' in metrics


ANY = Signature("any", (TensorSpec("x", "float32", None), TensorSpec("z", "float32", None)),
                (TensorSpec("y", "float32", None),))  # fmt: skip


class Constant(Model):
    """Gives one output of three rows, or a scalar, whatever comes."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = np.asarray(value, np.float32)

    def run(self, inputs: Arrays, signature: str, outputs: Sequence[str]) -> Arrays:
        return {"y": self.value}


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "must have at least one input tensor"),
        ({"x": np.float32(3), "z": np.ones(2, np.float32)}, "must have at least one dimension"),
        ({"x": np.ones(3, np.float32), "z": np.ones(2, np.float32)}, "must have equal 0th-dimension size"),
    ],
)
def test_what_has_no_batch_is_refused_as_by_tf_serving(inputs: Arrays, words: str) -> None:
    batcher = Batcher(Model(), BatchingOptions())
    with pytest.raises(StatusError, match=words) as refused:
        batcher.run({name: np.asarray(value) for name, value in inputs.items()}, ANY, (), lambda: True)
    assert refused.value.code is Code.INVALID_ARGUMENT
    batcher.close()


@pytest.mark.parametrize(
    ("value", "words"), [(1.0, "has 0 dimensions"), ([1.0, 2.0, 3.0], "0th dimension does not equal the sum")]
)
@pytest.mark.parametrize("shape", [None, (3,), ()])
def test_an_output_without_the_batch_is_refused_even_for_one_request(value: Any, words: str, shape: Any) -> None:
    signature = Signature("s", (TensorSpec("x", "float32", (None,)),), (TensorSpec("y", "float32", shape),))
    batcher = Batcher(Constant(value), BatchingOptions())
    with pytest.raises(StatusError, match=words) as refused:
        batcher.run({"x": np.ones(1, np.float32)}, signature, (), lambda: True)
    assert refused.value.code is Code.FAILED_PRECONDITION
    batcher.close()


def test_requests_that_come_at_once_never_share_one_output(start_serving: Any, model_base: Path) -> None:
    running = start_serving([ModelConfig("m", model_base)], batching=BatchingOptions(batch_timeout_micros=100_000))
    x, codes = np.ones((1, 3), np.float32), list[str]()

    def ask() -> None:
        try:
            running.predict({"x": x}, "total")
        except grpc.RpcError as error:
            codes.append(error.code().name)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == ["FAILED_PRECONDITION"] * 3
    assert any("signature 'total' is never batched" in event for event in running.events)
