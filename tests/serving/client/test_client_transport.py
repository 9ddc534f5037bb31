"""Transports: MockTransport, one of a user's own, and what a client expects of any."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from attnexport import serving
from attnexport.core import Signature, TensorSpec
from attnexport.serving import (
    ArgumentError,
    AsyncClient,
    Call,
    Client,
    ClientOptions,
    GrpcTransport,
    MockTransport,
    NotFoundError,
    RefusedError,
    Retry,
    SamplesError,
    ServingError,
    Tls,
    UnavailableError,
)
from attnexport.serving.messages import ClassificationResponse

ADDRESS = "127.0.0.1:8500"
DOUBLE = Signature(
    "serving_default", (TensorSpec("x", "float32", (None, 3)),), (TensorSpec("y", "float32", (None, 3)),)
)
X = np.arange(15, dtype="f").reshape(5, 3)


def double(request: Any) -> dict[str, Any]:
    return {"y": 2 * request.inputs["x"], "n": np.full(len(request.inputs["x"]), len(request.inputs["x"]))}


def test_a_mock_answers_from_a_function_and_records_the_calls(connect: Callable[..., Any]) -> None:
    transport = MockTransport(double, signatures=[DOUBLE], version=3)
    client = connect(ADDRESS, transport=transport, metadata={"authorization": "Bearer x"})
    for inputs in ({"x": X}, X, X.tolist()):
        prediction = client.predict(inputs, timeout=7)
        assert (prediction.model, prediction.version) == ("m", 3)
        np.testing.assert_array_equal(prediction["y"], 2 * X)
    assert client.predict(X, max_batch=2)["n"].tolist() == [2, 2, 2, 2, 1]
    assert client.predict(X, outputs=["n"]).keys() == {"n"}
    methods = [call.method for call in transport.calls]
    assert methods == ["Predict", "GetModelMetadata", *["Predict"] * 6]
    first = transport.calls[0]
    assert (first.address, first.metadata) == (ADDRESS, (("authorization", "Bearer x"),))
    assert 6 < first.timeout <= 7
    assert client.metadata().signatures == {"serving_default": DOUBLE}
    assert [(each.version, each.state) for each in client.status()] == [(3, "AVAILABLE")]
    client.wait_until_ready()
    client.reload_config({"m": "/models/m"})
    with pytest.raises(SamplesError, match=r"has shape \[5, 2\]"):
        client.predict(X[:, :2], check=True)


def test_a_mock_fails_as_servers_do(connect: Callable[..., Any]) -> None:
    def refuse(request: Any) -> Any:
        raise RefusedError(f"{ADDRESS}: wrong shape")

    client = connect(ADDRESS, transport=MockTransport(refuse, signatures=[DOUBLE]))
    with pytest.raises(RefusedError, match=r"input 'x' .* has shape \[5, 2\]") as error:
        client.predict({"x": X[:, :2]})
    assert "wrong shape" not in str(error.value)
    assert "wrong shape" in str(error.value.__cause__), "the server's words, which ours take the place of"
    assert (error.value.address, error.value.model) == (ADDRESS, "m")
    with pytest.raises(NotFoundError, match="has no version 9; there is 1"):
        client.status(version=9)
    for call in (lambda c: c.classify([{"x": 1.0}]), lambda c: c.metadata()):
        with pytest.raises(RefusedError, match=r"this MockTransport has no answer to \w+ \(UNIMPLEMENTED\)"):
            call(connect(ADDRESS, transport=MockTransport()))
    with pytest.raises(ArgumentError, match="there is no method 'Clasify'; handlers may be given for"):
        MockTransport(handlers={"Clasify": double})
    with pytest.raises(KeyError, match="z"):  # a fault of the function reaches the test
        connect(ADDRESS, transport=MockTransport(lambda request: {"y": request.inputs["z"]})).predict({"x": X})


def test_a_server_that_is_down_is_tried_again_and_the_next_one_is_asked(connect: Callable[..., Any]) -> None:
    def first_down(request: Any) -> Any:
        if transport.calls[-1].address == "a:1":
            raise UnavailableError("down")
        return double(request)

    transport = MockTransport(first_down)
    client = connect(["a:1", "b:1"], transport=transport, retry=Retry(attempts=2, first=0.001))
    for _ in range(3):
        client.predict({"x": X})
    assert {call.address for call in transport.calls[1:]} == {"b:1"}
    alone = connect("a:1", transport=transport, retry=Retry(attempts=2, first=0.001))
    with pytest.raises(UnavailableError, match=r"down \(tried 2 times\)"):
        alone.predict({"x": X})


def test_handlers_answer_the_other_methods(connect: Callable[..., Any]) -> None:
    def classify(request: Any) -> Any:
        size = len(request.input.example_list.examples)
        return ClassificationResponse(
            result={"classifications": [{"classes": [{"label": "a", "score": 0.5}]}] * size}  # type: ignore[misc]
        )

    client = connect(ADDRESS, transport=MockTransport(handlers={"Classify": classify}))
    assert [[each.label for each in row] for row in client.classify([{"x": 1.0}] * 2)] == [["a"], ["a"]]


class Recording:
    """A transport as a user writes one: around gRPC's, with the two methods that are needed."""

    def __init__(self, inner: GrpcTransport) -> None:
        self.inner, self.methods, self.threads = inner, list[str](), set[int]()

    def send(self, call: Call) -> bytes:
        self.methods.append(call.method)
        self.threads.add(threading.get_ident())
        return self.inner.send(call)

    def close(self) -> None:
        self.inner.close()


def test_a_transport_of_ones_own_sends_parts_at_once_from_threads(server: Any) -> None:
    recording = Recording(GrpcTransport([server.address]))
    with Client(server.address, model="m", max_concurrent=3, transport=recording) as client:
        server.service.meeting = threading.Barrier(3)
        assert client.predict({"x": np.zeros((6, 3), "f")}, max_batch=2)["n"].tolist() == [2] * 6
        server.service.meeting = None
        assert recording.methods == ["GetModelMetadata", *["Predict"] * 3]
        recording.threads.clear()
        client.predict({"x": np.zeros((6, 3), "f")}, max_batch=2)
        assert threading.get_ident() not in recording.threads
        server.service.failures = [(__import__("grpc").StatusCode.INTERNAL, "broken")]
        with pytest.raises(ServingError, match="broken"):
            client.predict({"x": X}, max_batch=1)
    with pytest.raises(ArgumentError, match="is closed"):
        client.predict({"x": X})


def test_the_constructors_list_every_option_with_its_default() -> None:
    fields = {field.name: field for field in dataclasses.fields(ClientOptions)}
    for kind in (Client, AsyncClient):
        parameters = dict(inspect.signature(kind).parameters)
        assert parameters.pop("transport").default is None
        assert list(parameters)[1:] == list(fields)
        assert kind(ADDRESS, transport=MockTransport()).options == ClientOptions()
        for name, parameter in parameters.items():
            assert name in ("addresses",) or parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert parameter.kind is not inspect.Parameter.VAR_KEYWORD


def test_a_client_is_pickled_and_connects_anew(server: Any) -> None:
    with Client(server.address, model="m", timeout=20, metadata={"a": "b"}, tls=None) as client:
        client.predict({"x": X})
        again = pickle.loads(pickle.dumps(client))
        assert again.options == client.options
        assert again.addresses == client.addresses
    with again:
        assert again.predict({"x": X}).version == 3
    other = pickle.loads(pickle.dumps(AsyncClient(server.address, model="m", tls=Tls())))
    assert other.options.tls == Tls()

    async def main() -> None:
        async with pickle.loads(pickle.dumps(AsyncClient(server.address, model="m"))) as client:
            assert (await client.predict({"x": X})).version == 3

    asyncio.run(main())


def test_every_error_of_a_client_is_importable_from_serving() -> None:
    for name in (
        "ServingError", "UnavailableError", "DeadlineError", "NotFoundError", "RefusedError", "ArgumentError",
        "SamplesError", "CodecError", "ContentError", "AttnexportError",
    ):  # fmt: skip
        assert name in serving.__all__
        assert issubclass(getattr(serving, name), serving.AttnexportError)
