"""Edge cases: what each of them is."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnexport.core import Signature, TensorSpec
from attnexport.parity.edge_cases import edge_cases

LOGITS = TensorSpec("y", "float32", (None, 3))


def cases(*inputs: TensorSpec, **options: Any) -> dict[str, Any]:
    return dict(edge_cases(Signature("serving_default", inputs, (LOGITS,)), **options))


def test_floats_with_free_steps_get_every_case() -> None:
    found = {name: each["x"] for name, each in cases(TensorSpec("x", "float32", (None, None, 4))).items()}
    assert list(found) == [
        *("zeros", "ones", "large", "tiny", "one-hot steps", "one step"),
        *("batch of 1", "batch of 5", "1 step", "64 steps"),
    ]
    assert {each.dtype for each in found.values()} == {np.dtype("float32")}
    assert not found["zeros"].any()
    assert (found["ones"] == 1).all()
    assert np.abs(found["large"]).max() > 1e4
    assert 0 < np.abs(found["tiny"]).max() < 1e-3
    assert set(np.unique(found["one-hot steps"])) == {0, 1}
    assert (found["one-hot steps"].sum(axis=-1) == 1).all()
    assert (found["one-hot steps"][0, :4] == np.eye(4)).all()
    assert found["one step"][:, 0].all()
    assert not found["one step"][:, 1:].any()
    shapes = {name: each.shape for name, each in found.items()}
    assert shapes["batch of 1"][0] == 1
    assert shapes["batch of 5"][0] == 5
    assert (shapes["1 step"][1], shapes["64 steps"][1]) == (1, 64)


def test_fixed_steps_have_one_length_and_tokens_stay_in_their_vocabulary() -> None:
    tokens, dense = TensorSpec("ids", "int32", (None, 6)), TensorSpec("x", "float32", (None, 2))
    found = cases(tokens, integers_below=9)
    assert list(found) == ["zeros", "ones", "large", "batch of 1", "batch of 5"]
    assert (found["large"]["ids"] == 8).all()
    assert "large" not in cases(tokens)
    both = cases(tokens, dense, integers_below=9)
    assert (both["large"]["ids"] == 8).all()
    assert np.array_equal(both["one-hot steps"]["x"], np.eye(2))
    assert max(each["ids"].max() for each in both.values()) == 8


def test_a_scalar_has_no_batch_and_no_edges() -> None:
    assert cases(TensorSpec("x", "float32", ())) == {}
