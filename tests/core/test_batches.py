"""Batches: cut to size, and filled up with the last sample."""

from __future__ import annotations

import numpy as np

from attnexport.core.batches import chunks, fill_batch, fill_rows

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
