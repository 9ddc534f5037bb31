"""Warm-up records are replayed as TF Serving would, all of them, in few calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attnexport.core import Arrays, ModelError, Signature, TensorSpec
from attnexport.exporter.warmup import write_warmup
from attnexport.workflows.validation_warmup import failing_warmup


class Fake:
    """Refuses a batch with a 7 in it."""

    def __init__(self, batch: int | None) -> None:
        spec = TensorSpec("x", "float32", (batch, 2))
        self.signatures = {name: Signature(name, (spec,), (spec,)) for name in ("one", "two")}
        self.calls: list[int] = []

    def run(self, inputs: Arrays, signature: str = "one") -> Arrays:
        self.calls.append(len(inputs["x"]))
        if (inputs["x"] == 7).any():
            raise ModelError(f"{signature} does not take 7")
        return inputs

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(("batch", "calls"), [(None, [1, 1, 256, 43, 256, 43]), (1, [1] * 64)])
def test_every_record_is_run_in_few_calls(batch: int | None, calls: list[int], tmp_path: Path) -> None:
    """Alone first, then together; as they are where the batch is fixed."""
    runner, samples = Fake(batch), {"x": np.zeros((300, 2), np.float32)}
    write_warmup(tmp_path, "m", runner.signatures, {"one": samples, "two": samples})
    assert failing_warmup(tmp_path, runner) is None
    assert sorted(runner.calls) == sorted(calls)


def test_the_record_that_fails_is_named(tmp_path: Path) -> None:
    runner, samples = Fake(None), {"x": np.zeros((300, 2), np.float32)}
    samples["x"][290] = 7
    write_warmup(tmp_path, "m", runner.signatures, {"one": samples})
    assert failing_warmup(tmp_path, runner) == "warm-up record 291 fails: one does not take 7"
