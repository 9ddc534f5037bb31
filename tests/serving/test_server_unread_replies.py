"""Clients that read no reply: what they leave unread is bounded in bytes and in time, and others are answered."""

from __future__ import annotations

import contextlib
import gc
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from attnexport.serving.codec import ServedModel, encode_predict_request
from attnexport.serving.server import GrpcOptions, ModelConfig, replies
from tests.waiting import eventually

X = {"x": np.ones((1, 3), np.float32)}
REQUEST = encode_predict_request(ServedModel("m"), X)
_HEADERS, _RST_STREAM, _DATA, _SETTINGS = 1, 3, 0, 4
_INITIAL_WINDOW = struct.pack(">HI", 4, 0)  # a setting: no stream may send data


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def header(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


HEAD = bytes([0x83, 0x86]) + b"".join(
    header(name, value)
    for name, value in (
        (b":path", b"/tensorflow.serving.PredictionService/Predict"), (b":authority", b"x"), (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
)  # fmt: skip


class Deaf:
    """A connection whose streams take no data, by the window that it gives them."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(_SETTINGS, 0, 0, _INITIAL_WINDOW))

    def predict(self, count: int) -> None:
        message = b"\0" + struct.pack(">I", len(REQUEST)) + REQUEST
        for number in range(count):
            stream = 2 * number + 1
            self.socket.sendall(frame(_HEADERS, 4, stream, HEAD) + frame(_DATA, 1, stream, message))

    def ended(self, count: int) -> set[int]:
        """The streams that the server has reset, once there are as many."""
        found: set[int] = set()
        with self.socket.makefile("rb") as file:
            while len(found) < count:
                head = file.read(9)
                file.read(int.from_bytes(head[:3], "big"))
                if head[3] == _RST_STREAM:
                    found.add(int.from_bytes(head[5:9], "big"))
        return found


@contextlib.contextmanager
def deaf(address: str) -> Iterator[Deaf]:
    client = Deaf(address)
    with client.socket:
        yield client


@pytest.fixture
def served(start_serving: Any, model_base: Any) -> Callable[..., Any]:
    def start(**options: Any) -> Any:
        return start_serving([ModelConfig("m", model_base)], grpc=GrpcOptions(threads=2, **options))

    return start


def test_the_oldest_of_too_many_unread_bytes_make_room(
    served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "_MAX_BYTES", 0)
    monkeypatch.setattr(replies, "_SAFE", 0.0)
    running = served()
    held = running.server._grpc._replies
    with deaf(running.server.address) as client:
        client.predict(12)
        assert len(client.ended(10)) == 10
        assert len(held._unread) == 2
        assert running.predict(X).model_spec.version.value == 2
    eventually(lambda: not held._unread)
    assert held._bytes == 0


def test_of_unread_replies_the_oldest_end_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Call:
        def __init__(self, number: int) -> None:
            self.number = number

        def add_callback(self, callback: Callable[[], None]) -> bool:
            return True

        def cancel(self) -> None:
            ended.append(self.number)

    monkeypatch.setattr(replies, "_MAX_BYTES", 0)
    monkeypatch.setattr(replies, "_SAFE", 0.0)
    ended: list[int] = []
    held = replies.Replies(3600.0)
    for number in range(6):
        held.hand_over(10_000, Call(number))
    held.close()
    assert ended == [0, 1, 2, 3]


def test_a_reply_that_nobody_reads_in_time_ends(served: Callable[..., Any]) -> None:
    running = served(message_seconds=0.3)
    with deaf(running.server.address) as client:
        client.predict(5)
        assert client.ended(5) == {1, 3, 5, 7, 9}
    held = running.server._grpc._replies
    eventually(lambda: not held._unread and not held._look.is_set())
    assert held._bytes == 0


def test_replies_that_are_read_are_over_at_once(served: Callable[..., Any]) -> None:
    running = served()
    held = running.server._grpc._replies
    for _ in range(20):
        running.predict(X)
    with pytest.raises(Exception, match="not found"):
        running.predictions.Predict(predict_pb2.PredictRequest(model_spec={"name": "unknown"}), timeout=30)
    eventually(lambda: not held._unread)
    assert held._bytes == 0
    running.server.stop()
    assert held._ended.is_set()


def test_calls_that_fail_leave_no_stream_open_until_garbage_is_collected(served: Callable[..., Any]) -> None:
    """A connection may have 256 of them; an error's traceback would keep the call that it ended."""
    running = served()
    request = predict_pb2.PredictRequest(model_spec={"name": "unknown"})
    gc.collect()
    gc.disable()
    try:
        codes = set()
        for _ in range(300):
            with pytest.raises(grpc.RpcError) as caught:
                running.predictions.Predict(request, timeout=30)
            codes.add(caught.value.code())
            del caught
    finally:
        gc.enable()
    assert codes == {grpc.StatusCode.NOT_FOUND}
