"""No number that comes back differs from the one that was sent, or there is an error that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnexport.core import Signature, TensorSpec
from attnexport.serving import Client, MockTransport, SamplesError

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bool")


def echo_client(dtype: str) -> Client:
    spec = TensorSpec("x", dtype, (None,))
    signature = Signature("serving_default", (spec,), (spec,))
    transport = MockTransport(lambda request: request.inputs, signatures=[signature])
    return Client("127.0.0.1:8500", model="m", transport=transport)


CLIENTS = {dtype: echo_client(dtype) for dtype in DTYPES}


@given(
    st.lists(st.one_of(st.integers(-(2**64), 2**65), st.floats(), st.booleans()), min_size=1, max_size=4),
    st.sampled_from(DTYPES),
)
def test_lists_come_back_as_they_were_sent(values: list[Any], dtype: str) -> None:
    try:
        back = CLIENTS[dtype].predict(values)["x"].tolist()
    except SamplesError as error:
        assert "input 'x' cannot be made an array of" in str(error)  # noqa: PT017 - either is right
        return
    for sent, came in zip(values, back, strict=True):
        if dtype == "float32" and isinstance(sent, float):
            assert came == np.float32(sent) or sent != sent  # noqa: PLR0124 - NaN alone
        else:
            assert came == sent or sent != sent  # noqa: PLR0124


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
def test_ids_of_64_bits_keep_them_all(ids: list[int]) -> None:
    assert CLIENTS["uint64"].predict(ids)["x"].tolist() == ids


class Series:
    """What pandas, torch and TensorFlow have: not an array, but one at request."""

    def __init__(self, values: Any) -> None:
        self.values = np.array(values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return self.values if dtype is None else self.values.astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "values", "words"),
    [
        ("int64", [1.7, 2.9], r"it holds 1.7 at \[0\], which int64 cannot represent"),
        ("uint8", [300.5, 1], r"it holds 300.5 at \[0\]"),
        ("int64", Series([1.0, float("nan")]), r"it holds nan at \[1\]"),
        ("uint64", [-1.0, 1.5], r"it holds -1.0 at \[0\]"),
        ("float32", [16777217], r"it holds 16777217 at \[0\], which float32 cannot represent"),
        ("bool", [1, 2], r"it holds 2 at \[1\]"),
    ],
)
def test_what_a_dtype_cannot_hold_is_refused_by_name(dtype: str, values: Any, words: str) -> None:
    with pytest.raises(SamplesError, match=f"input 'x' cannot be made an array of {dtype}: {words}"):
        CLIENTS[dtype].predict(values)


def test_columns_and_tensors_take_the_dtype_of_the_signature(server: Any, connect: Callable[..., Any]) -> None:
    assert CLIENTS["int32"].predict(Series([1.0, 2.0]))["x"].tolist() == [1, 2]
    client = connect(server.address)
    assert client.predict(Series(np.ones((2, 3))))["y"].tolist() == [[5, 5, 5]] * 2
