"""Large inputs are sent in parts only if the signature's first dimension is a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnexport.core import Signature, TensorSpec
from attnexport.core.signature import Shape
from attnexport.serving import Client, MockTransport, ServingError


def signature(inputs: dict[str, Shape | None], outputs: dict[str, Shape | None]) -> Signature:
    def specs(shapes: dict[str, Shape | None]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name, "float32", shape) for name, shape in shapes.items())

    return Signature("serving_default", specs(inputs), specs(outputs))


@pytest.mark.parametrize(
    ("inputs", "outputs", "wanted", "calls"),
    [
        ({"x": (None, 3)}, {"y": (None, 2)}, [], 3),
        ({"x": (None, 3)}, {"y": (None, 2), "labels": (3,)}, [], 1),
        ({"x": (None, 3)}, {"y": (None, 2), "labels": (3,)}, ["y"], 3),
        ({"x": (None, 3)}, {"total": ()}, [], 1),
        ({"x": (None, 3)}, {"y": None}, [], 1),
        ({"x": (6, 3)}, {"y": (6, 2)}, [], 1),
        ({"x": (2, 3)}, {"y": (2, 2)}, [], 3),
        ({"x": (None, 3)}, {"y": (2, 2)}, [], 1),
    ],
)
def test_only_batches_are_split(
    connect: Callable[..., Any], inputs: Any, outputs: Any, wanted: Any, calls: int
) -> None:
    def predict(request: Any) -> Any:
        rows = len(request.inputs["x"])
        shapes = {name: [rows if size is None else size for size in shape or ()] for name, shape in outputs.items()}
        return {name: np.zeros(shape, "f") for name, shape in shapes.items()}

    transport = MockTransport(predict, signatures=[signature(inputs, outputs)])
    client = connect("127.0.0.1:8500", transport=transport, max_batch=2)
    client.predict({"x": np.ones((6, 3), "f")}, outputs=wanted)
    assert [call.method for call in transport.calls].count("Predict") == calls


def test_parts_whose_replies_do_not_fit_together_are_an_error(connect: Callable[..., Any]) -> None:
    """Of a server that does not say what its signatures are, the caller's word is taken."""
    client = connect("127.0.0.1:8500", transport=MockTransport(lambda request: {"total": request.inputs["x"].sum()}))
    with pytest.raises(ServingError, match=r"output 'total' of a part of 3 samples has shape \[\]"):
        client.predict({"x": np.ones((6, 3), "f")}, max_batch=3)


def test_inputs_of_different_first_dimensions_are_sent_as_they_are(connect: Callable[..., Any]) -> None:
    sizes: list[dict[str, int]] = []

    def predict(request: Any) -> Any:
        sizes.append({name: len(array) for name, array in request.inputs.items()})
        return {"y": request.inputs["values"]}

    shapes: dict[str, Any] = {"values": (None,), "indices": (None, 2), "dense_shape": (2,)}
    transport = MockTransport(predict, signatures=[signature(shapes, {"y": (None,)})])
    client = connect("127.0.0.1:8500", transport=transport, max_batch=1)
    for values, indices in ((5, 5), (5, 3), (2, 2)):
        arrays = {"values": values, "indices": (indices, 2), "dense_shape": 2}
        client.predict({name: np.zeros(shape, "f") for name, shape in arrays.items()})
    assert sizes == [
        {"dense_shape": 2, "indices": indices, "values": values} for values, indices in ((5, 5), (5, 3), (2, 2))
    ]


@given(st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_parts_joined_are_the_whole(rows: int, max_batch: int, labelled: bool) -> None:
    outputs: dict[str, Any] = {"y": (None, 3), **({"labels": (3,)} if labelled else {})}

    def predict(request: Any) -> Any:
        labels = {"labels": np.arange(3)} if labelled else {}
        return {"y": 2 * request.inputs["x"], **labels}

    x = np.arange(rows * 3).reshape(rows, 3)
    transport = MockTransport(predict, signatures=[signature({"x": (None, 3)}, outputs)])
    with Client("127.0.0.1:8500", model="m", transport=transport) as client:
        prediction = client.predict({"x": x}, max_batch=max_batch)
    np.testing.assert_array_equal(prediction["y"], 2 * x)
    assert not labelled or prediction["labels"].tolist() == [0, 1, 2]
