"""Both clients against a server that shares no code with them."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from attnexport.core import ArgumentError, CodecError, NotFoundError, RefusedError, SamplesError, ServingError, batched
from attnexport.parity import Case, compare
from attnexport.serving import AsyncClient, Client, ClientRunner, Prediction

X = np.arange(15, dtype="f").reshape(5, 3)


def test_the_twins_have_the_same_methods_arguments_and_results() -> None:
    def public(kind: type) -> dict[str, str]:
        return {
            name.replace("__a", "__"): str(inspect.signature(each)).replace("AsyncTransport", "Transport")
            for name, each in vars(kind).items()
            if callable(each) and (not name.startswith("_") or name in ("__init__", "__exit__", "__aexit__"))
        }

    assert public(Client) == public(AsyncClient)
    assert len(public(Client)) >= 11
    for name, each in vars(Client).items():
        if name in public(Client) and not name.startswith("_"):
            assert inspect.iscoroutinefunction(getattr(AsyncClient, name)), name
            assert each.__doc__
            assert getattr(AsyncClient, name).__doc__


@pytest.mark.parametrize("content", [True, False])
def test_predict_takes_dicts_arrays_and_lists_and_says_which_version_answered(
    server: Any, connect: Callable[..., Any], content: bool
) -> None:
    server.service.content = content
    client = connect(server.address)
    for inputs in ({"x": X}, X, X.tolist(), {"x": X.tolist()}, {"x": np.asfortranarray(X)}, {"x": X.astype(">f4")}):
        found = client.predict(inputs)
        assert isinstance(found, Prediction)
        assert (found.model, found.version, found.versions) == ("m", 3, (3,))
        assert found["y"].dtype == np.float32
        np.testing.assert_array_equal(found["y"], 2 * X + 3)
        assert found["n"].tolist() == [5] * 5


def test_version_label_signature_and_outputs_reach_the_server(server: Any, connect: Callable[..., Any]) -> None:
    client = connect(server.address)
    assert client.predict(X, version=2).version == 2
    assert client.predict(X, label="stable").version == 2
    assert client.predict(X, outputs=["n"]).keys() == {"n"}
    two = client.predict({"a": [[1.5, 2]], "b": [[3, 4]]}, signature="two")
    assert two["sum"].tolist() == [[4.5, 6.0]]
    request = server.service.calls[-1][1]
    assert not request.model_spec.HasField("version")
    server.service.states.append((0, 30, ""))
    assert client.predict(X, version=0).version == 0
    assert server.service.calls[-1][1].model_spec.HasField("version")


def test_strings_scalars_and_empty_arrays_travel(server: Any, connect: Callable[..., Any]) -> None:
    client = connect(server.address)
    for array in (
        np.array([[b"a", b"\x00\xff"]], object), np.array(b"one", object), np.array(2.5), np.zeros((0, 3), "f"),
        np.array([True, False]), np.array([1 + 2j]), np.arange(6, dtype=">i8").reshape(2, 3).T, np.float16([1.5, 2]),
    ):  # fmt: skip
        echoed = client.predict({"x": array}, signature="echo")["x"]
        assert echoed.shape == np.shape(array)
        assert echoed.tolist() == np.asarray(array).tolist()
    assert client.predict("text", signature="echo")["x"].tolist() == b"text"


def test_large_batches_go_in_parts_several_at_once_and_come_back_in_order(
    server: Any, connect: Callable[..., Any]
) -> None:
    client = connect(server.address, max_concurrent=3)
    rows = np.arange(300, dtype="f").reshape(100, 3)
    counts: list[int] = []
    server.service.meeting = threading.Barrier(3)
    found = client.predict({"x": rows}, max_batch=7, on_batch=counts.append)
    np.testing.assert_array_equal(found["y"], 2 * rows + 3)
    assert found["n"].tolist() == [7] * 98 + [2] * 2
    assert sorted(counts) == [2] + [7] * 14
    assert server.service.most_in_flight == 3
    server.service.meeting = None
    assert not found["y"].flags.writeable
    for options in ({"max_batch": 3}, {}):  # a total over the samples is not split
        assert client.predict({"x": X}, signature="total", **options)["total"] == X.sum()
    with pytest.raises(RefusedError, match="float32 is expected"):
        client.predict({"x": rows.astype("d")}, max_batch=7)
    # Where there is no common batch, all goes at once.
    with pytest.raises(RefusedError, match="missing"):
        client.predict({"a": X, "b": X[:2]}, max_batch=1)


def test_versions_that_change_between_the_parts_are_told(server: Any, connect: Callable[..., Any]) -> None:
    client = connect(server.address, max_concurrent=1)
    found = client.predict(
        {"x": X},
        max_batch=3,
        on_batch=lambda _: server.service.states.append((4, 30, "")),  # the next part's
    )
    assert (found.versions, found.version) == ((3, 4), 4)


def test_errors_carry_what_was_asked_and_what_would_be_right(server: Any, connect: Callable[..., Any]) -> None:
    client = connect(server.address)
    names = ("classify", "echo", "regress", "serving_default", "total", "two")
    for inputs in ({"x": X}, X):
        with pytest.raises(
            RefusedError, match=r"no signature 'tow'; did you mean 'two'.* there is 'classify'"
        ) as caught:
            client.predict(inputs, signature="tow")
        error = caught.value
        assert (error.address, error.model, error.signature, error.valid) == (server.address, "m", "tow", names)
        assert "\n" not in str(error)
    with pytest.raises(NotFoundError, match="model 'm' has no version 9; there is 3, 2") as version:
        client.predict({"x": X}, version=9)
    assert version.value.valid == ("3", "2")
    for options, kind, words in (
        ({"model": "q"}, NotFoundError, "there is no model 'q' \\(NOT_FOUND\\)"),
        ({"label": "beta"}, RefusedError, "Unrecognized servable version label: beta"),
        ({"outputs": ["z"]}, RefusedError, "no output 'z'; there is 'n' or 'y'"),
        ({"version": 1, "label": "a"}, ArgumentError, "version 1 and label 'a' exclude each other"),
        ({"version": -1}, ArgumentError, "version must be a whole number of at least 0; received -1"),
        ({"version": 2**63}, ArgumentError, "version must be at most 9223372036854775807"),
        ({"model": 5}, ArgumentError, "model must be printable text; received 5"),
        ({"model": "\ud800"}, ArgumentError, "model must be printable text"),
        ({"outputs": [3]}, CodecError, "must be text; received 3"),
        ({"outputs": "y"}, ArgumentError, "outputs are a list of names; received 'y'"),
        ({"timeout": 0}, ArgumentError, "timeout must be a number of seconds above 0; received 0"),
        ({"max_batch": 0}, ArgumentError, "max_batch must be a whole number of at least 1"),
    ):
        with pytest.raises(kind, match=words):
            client.predict({"x": X}, **options)
    with pytest.raises(RefusedError, match="missing 'x', unknown 'z'; its inputs are x: float32"):
        client.predict({"z": X})
    with pytest.raises(CodecError, match="'x': dtype datetime64"):
        client.predict({"x": np.zeros(2, "M8[s]")})
    for array, words in (
        (np.ma.masked_array(X), "a tensor has no mask"),
        (np.array(["\ud800"], object), "cannot be written as UTF-8"),
    ):
        with pytest.raises(CodecError, match=words):
            client.predict({"x": array})
    for value in (None, "abc", [[1e300, 2, 3]], [[1, "a"]], [[1j, 2, 3]]):
        with pytest.raises(SamplesError, match="input 'x' cannot be made an array of float32"):
            client.predict({"x": value})
    with pytest.raises(NotFoundError, match="no version 9; there is 3, 2"):
        client.status(version=9)
    with pytest.raises(NotFoundError, match="there is no model 'q'"):
        client.metadata(model="q")
    with pytest.raises(ArgumentError, match="takes 'a', 'b'; an array alone is for a single input"):
        client.predict(X, signature="two")
    with pytest.raises(SamplesError, match="input 'x' cannot be made an array of float32"):
        client.predict({"x": [[1, 2], [3]]})
    with pytest.raises(RefusedError, match="no signature 'clasify'; did you mean 'classify'"):
        client.classify([{"x": 1.0}], signature="clasify")


def test_the_check_refuses_before_sending_and_asks_again_when_it_may_be_stale(
    server: Any, connect: Callable[..., Any]
) -> None:
    client = connect(server.address, check=True)
    assert client.predict({"x": X}).version == 3
    assert client.predict({"x": X}).version == 3
    asked = [name for name, _, _ in server.service.calls]
    assert asked == ["GetModelMetadata", "Predict", "Predict"]
    with pytest.raises(SamplesError, match=r"has shape \[5, 2\]; \[\?, 3\] is expected"):
        client.predict({"x": X[:, :2]})
    assert "Predict" not in [name for name, _, _ in server.service.calls[3:]]
    # Without the check it runs and answers, as TF Serving's operators may.
    assert client.predict({"x": X[:, :2]}, check=False)["y"].shape == (5, 2)
    import tensorflow as tf

    _, outputs, method = server.service.signatures["serving_default"]
    # A new version with another shape.
    server.service.signatures["serving_default"] = ({"x": (tf.float32, [-1, 2])}, outputs, method)
    assert client.predict({"x": X[:, :2]})["y"].shape == (5, 2)


def test_headers_and_compression_reach_the_server(server: Any, connect: Callable[..., Any]) -> None:
    client = connect(server.address, metadata={"authorization": "Bearer x", "trace-bin": b"\x00"}, compression="gzip")
    rows = np.zeros((20000, 3), "f")
    assert (client.predict({"x": rows})["y"] == 3).all()
    sent = server.service.calls[-1][2]
    assert (sent["authorization"], sent["trace-bin"]) == ("Bearer x", b"\x00")
    assert (connect(server.address, compression="deflate").predict({"x": rows})["y"] == 3).all()


def test_a_served_model_is_a_runner(server: Any, client: Client) -> None:
    class Local:
        signatures = ClientRunner(client).signatures

        def run(self, inputs: Any, signature: str = "serving_default") -> Any:
            return {"y": 2 * inputs["x"] + 3, "n": np.full(len(inputs["x"]), len(inputs["x"]))}

        def close(self) -> None:
            pass

    runner = ClientRunner(client, version=3)
    assert runner.version == 3
    verdict = compare(Local(), runner, [Case("five", {"x": X})])
    assert verdict
    assert batched(runner, {"x": X}, batch_size=2)["y"].shape == (5, 3)
    server.service.states.append((4, 30, ""))
    assert (runner.run({"x": X})["y"] == 2 * X + 3).all(), "the version is settled"
    with pytest.raises(SamplesError, match="float32 is expected"):
        runner.run({"x": X.astype("d")})
    with pytest.raises(ArgumentError, match="no signature 'nope'"):
        runner.run({"x": X}, "nope")
    runner.close()


def test_other_status_codes_become_errors_with_the_servers_words(server: Any, connect: Callable[..., Any]) -> None:
    client = connect(server.address)
    for code, kind in (
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ServingError),
        (grpc.StatusCode.INTERNAL, ServingError),
        (grpc.StatusCode.PERMISSION_DENIED, RefusedError),
        (grpc.StatusCode.UNIMPLEMENTED, RefusedError),
    ):
        server.service.failures.append((code, "two\nlines"))
        with pytest.raises(kind, match=rf"two lines \({code.name}\)"):
            client.predict({"x": X})


@pytest.mark.skipif("ATTNEXPORT_TFSERVING" not in os.environ, reason="ATTNEXPORT_TFSERVING=HOST:PORT is not set")
def test_a_real_tensorflow_serving(connect: Callable[..., Any]) -> None:
    """One that serves the default classifier: `attnexport savedmodel`, as the model 'classifier'."""
    from attnexport.core import synthetic_samples

    client = connect(os.environ["ATTNEXPORT_TFSERVING"], model="classifier", check=True)
    client.wait_until_ready()
    signature = client.metadata().signatures["serving_default"]
    inputs = synthetic_samples(signature.inputs, 9).inputs
    whole, parts = client.predict(inputs), client.predict(inputs, max_batch=2)
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-5, atol=1e-5)
    with pytest.raises(RefusedError, match="there is no signature 'nope'"):
        client.predict(inputs, signature="nope", check=False)
    with pytest.raises(NotFoundError, match="has no version 999"):
        client.predict(inputs, version=999, check=False)
