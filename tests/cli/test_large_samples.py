"""Samples larger than memory: whatever form they come in, they are checked, hashed and compared in pieces."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from attnexport.core import Arrays, SamplesError, Signature, StorageError, TensorSpec, load_samples
from attnexport.core.samples import content_hash

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

SPEC = TensorSpec("x", "float32", (None, 64, 256))
ROWS = 1500  # of 64 KiB
SIZE = ROWS << 16


class Mean:
    """Computes the mean of each sample."""

    signatures: ClassVar = {
        "serving_default": Signature("serving_default", (SPEC,), (TensorSpec("y", "float32", (None, 256)),))
    }

    def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
        return {"y": inputs["x"].mean(axis=1)}

    def close(self) -> None:
        """Nothing to free."""


@pytest.fixture(scope="module")
def data() -> Any:
    pattern = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    return np.tile(pattern, (ROWS, 1, 1)) + np.arange(ROWS, dtype=np.float32)[:, None, None]


@pytest.fixture
def traced() -> Iterator[None]:
    import attnexport.workflows.validation_data  # noqa: F401  # TensorFlow's import would be traced, which takes a minute

    tracemalloc.start()
    yield
    tracemalloc.stop()


def write(path: Path, data: Any, form: str) -> Path:
    if form == "npy":
        np.save(path / "x.npy", data)
        return path / "x.npy"
    if form == "deflated":
        np.savez_compressed(path / "x.npz", x=np.round(data[:, :1, :1]) + np.zeros_like(data), labels=np.arange(ROWS))
    else:
        np.savez(path / "x.npz", x=data.astype(np.float64) if form == "float64" else data, labels=np.arange(ROWS))
    return path / "x.npz"


@pytest.mark.parametrize("form", ["npy", "stored", "deflated", "float64"])
def test_memory_stays_far_below_the_data(form: str, data: Any, tmp_path: Path, traced: None) -> None:
    from attnexport.parity import Subject, validate
    from attnexport.workflows.validation_data import Data, batches

    path = write(tmp_path, data, form)
    original: Any = SimpleNamespace(
        reference=Mean(),
        signatures=Mean.signatures,
        inputs=(SPEC,),
        feeds={"serving_default": dict},
        integers_below=None,
    )
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    samples = load_samples(path, [SPEC])
    subjects = [Subject("a", "numpy", "float32", Mean())]
    result = validate(Mean(), subjects, batches(original, Data(samples, "samples", given=True), ["serving_default"]))
    found = content_hash(samples.inputs)
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < SIZE / 5, f"{(peak - before) >> 20} MiB of {SIZE >> 20}"
    assert result
    assert next(check.measured.samples for check in result.checks if check.measured and not check.is_edge) == ROWS
    if form != "deflated":
        assert np.array_equal(samples.inputs["x"], data)
        assert found == content_hash({"x": data})


def test_damage_in_a_large_member_is_found(data: Any, tmp_path: Path) -> None:
    path = write(tmp_path, data, "stored")
    with path.open("r+b") as file:
        file.seek(SIZE // 2)
        file.write(b"\1\2\3\4")
    with pytest.raises(SamplesError, match="not a readable numpy file: Bad CRC-32"):
        load_samples(path, [SPEC])


def test_no_room_to_unpack_is_said(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, data, "deflated")
    monkeypatch.setattr("attnexport.core.mapped._temporary_file", lambda: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(StorageError, match="no space left on device"):
        load_samples(path, [SPEC])
