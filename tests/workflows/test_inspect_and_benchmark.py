"""`attnexport.inspect`, `benchmark` and `benchmark_server` from Python, with models in memory where paths are taken."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import attnexport as ax
from attnexport.core import ArgumentError, SamplesError
from attnexport.workflows.connection import Connection

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]


@pytest.fixture
def model() -> Any:
    inputs = keras.Input((4, 8), name="x")
    return keras.Model(inputs, keras.layers.Dense(5, name="y")(inputs), name="small")


def test_a_model_in_memory_is_inspected_as_its_file_is(model: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "small.keras")
    memory, file = ax.inspect(model), ax.inspect(tmp_path / "small.keras")
    theirs = {**file.to_dict(), "path": None, "size_bytes": None, "outputs": memory.to_dict()["outputs"]}
    assert memory.to_dict() == theirs  # Keras numbers the tensors of a model anew when it is loaded
    assert json.loads(file.to_json())["path"] == str(tmp_path / "small.keras")
    assert str(memory).splitlines()[0].split() == ["model", "small"]
    assert str(file).splitlines()[:2] == [str(tmp_path / "small.keras"), ""]
    assert "<thead>" not in file._repr_html_()
    assert "<td>layers</td><td>Dense 1" in file._repr_html_()


def test_a_model_in_memory_is_measured_beside_a_saved_model(model: Any, exported_classifier: Any) -> None:
    steps: list[str] = []

    def progress(message: str, /, *, done: int = 0, total: int | None = None) -> None:
        steps.append(message)

    result = ax.benchmark([model, model, exported_classifier.path], rounds=3, progress=progress)
    memory, again, saved_model = result.artifacts
    assert (memory.artifact, again.artifact) == ("small", "small (2)")
    assert (memory.size_bytes, memory.peak_memory_bytes) == (None, None)
    assert saved_model.artifact == str(exported_classifier.path)
    assert (saved_model.peak_memory_bytes or 0) > 50_000_000
    assert memory.speed == 1
    assert "shapes differ apart from the batch" in result.notes[0]
    assert "Speed is over that of small, 3 calls each, interleaved, after a warm-up." in str(result)
    assert list(dict.fromkeys(steps)) == ["loading", "measuring memory", "measuring latency"]


def test_bad_arguments_are_refused_before_tensorflow_loads(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    code = (
        "import sys, attnexport as ax\n"
        "calls = [([], {}), (['m.tflite'], {'seconds': 0}), (['m.tflite'], {'rounds': 2}), ('nowhere', {})]\n"
        "for sources, options in calls:\n"
        "    try: ax.benchmark(sources, **options)\n"
        "    except ValueError as error: print(error)\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    assert run_python(code).stdout.splitlines() == [
        "there is nothing to measure; name at least one artifact",
        "seconds must be above 0 and at most a day; received 0",
        "rounds must be a whole number of at least 3; received 2",
        "nowhere does not exist",
    ]


def test_a_server_is_measured_with_arrays(serving: Any) -> None:
    connection = Connection("m", serving.server.address)
    samples = {"x": np.ones((3, 3), np.float32)}
    result = ax.benchmark_server(connection, samples=samples, batch=2, concurrency=(1, 2), seconds=0.2)
    assert (result.model, result.version, result.batch) == ("m", 2, 2)
    assert [level.concurrency for level in result.levels] == [1, 2]
    assert all(level.requests and not level.failures for level in result.levels)
    assert "m version 2, serving_default, batch 2" in str(result)
    with pytest.raises(ArgumentError, match="batch=4 is more than the 3 samples in the input"):
        ax.benchmark_server(connection, samples=samples, batch=4)
    with pytest.raises(SamplesError):
        ax.benchmark_server(connection, samples={"y": np.ones((3, 3), np.float32)})
