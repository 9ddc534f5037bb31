"""Batches: cut to size, and filled up with the last sample."""

from __future__ import annotations

import numpy as np
import pytest

from attnexport.core import ContentError, Signature, TensorSpec, batched, limits, synthetic_samples
from attnexport.core.batches import batch_for, chunks, fill_batch, fill_rows
from attnexport.core.runner import RecordedRunner
from attnexport.core.signature import Arrays

X = np.arange(15).reshape(5, 3)


def test_batches_are_filled_up_by_the_last_sample() -> None:
    filled = fill_batch({"x": X}, 4)["x"]
    assert filled.shape == (8, 3)
    assert (filled[5:] == filled[4]).all()


def test_whole_batches_are_not_copied() -> None:
    assert fill_rows(X, 5) is X
    assert fill_rows(X[:0], 4).shape == (0, 3)


def test_the_last_chunk_is_filled_only_on_request() -> None:
    sizes = {
        fill: [(len(part["x"]), count) for part, count in chunks({"x": X}, 2, fill=fill)] for fill in (True, False)
    }
    assert sizes == {True: [(2, 2), (2, 2), (2, 1)], False: [(2, 2), (2, 2), (1, 1)]}


@pytest.mark.parametrize(
    ("shape", "dtype", "rows"),
    [
        ((40, 128, 8), "float32", 40),
        ((40, 4096, 8), "float32", 2),
        ((40, 4096), "int32", 2),
        ((40, 4096), "float32", 40),  # features, which no attention pairs
        ((40, 9000, 8), "float32", 1),
        ((40, 1024, 1024, 3), "uint8", 5),
    ],
)
def test_large_samples_run_a_few_at_a_time(shape: tuple[int, ...], dtype: str, rows: int) -> None:
    inputs = {"x": np.broadcast_to(np.zeros(1, dtype), shape)}
    assert batch_for(inputs) == rows
    spec, seen = TensorSpec("x", dtype, (None, *shape[1:])), []

    class Counting:
        def __init__(self) -> None:
            self.signatures = {"serving_default": Signature("serving_default", (spec,), (spec,))}

        def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
            seen.append(len(inputs["x"]))
            return {"y": inputs["x"][:, :1]}

        def close(self) -> None:
            pass

    assert len(batched(Counting(), inputs)["y"]) == 40
    assert max(seen) == rows


def test_what_was_recorded_of_all_samples_is_asked_for_all() -> None:
    spec, inputs = TensorSpec("x", "float32", (None, 4096, 1)), {"x": np.zeros((3, 4096, 1), np.float32)}
    recorded = RecordedRunner({"serving_default": Signature("serving_default", (spec,), (spec,))})
    recorded.record(inputs, "serving_default", {"y": np.ones(3)})
    assert batched(recorded, inputs)["y"].sum() == 3


def test_shapes_that_no_memory_holds_are_refused() -> None:
    with pytest.raises(
        ContentError, match=r"filling 2 samples up to the batch of 4,611,686,018,427,387,904 would take more"
    ):
        fill_batch({"x": np.ones((2, 3))}, 1 << 62)
    with pytest.raises(ContentError, match=r"input 'x' of shape \[2, 4294967296, 4294967296\] would take more than"):
        synthetic_samples([TensorSpec("x", "float32", (None, 1 << 32, 1 << 32))], 2)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "string"])
def test_made_up_values_are_measured_as_they_are_made(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of 64 bits, before they are cast."""
    monkeypatch.setattr(limits, "_MAX_MEMORY", 96)
    assert synthetic_samples([TensorSpec("x", dtype, (None,))], 12).inputs["x"].shape == (12,)
    with pytest.raises(ContentError, match=r"shape \[13\] would take more than 96 bytes$"):
        synthetic_samples([TensorSpec("x", dtype, (None,))], 13)
