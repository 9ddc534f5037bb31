"""Each way in which an export goes wrong, in every runtime: `attnexport validate` says what it is, and where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

Run = Callable[..., tuple[int, str, str]]

RUNTIMES = {"session", "eager", "gRPC", "interpreter", "CompiledModel", "half precision"}
# By output of the model below, what is said of it on the samples.
TOLD = {
    "weight": "max error",
    "first": "max error",
    "second": "max error",
    "finite": "holds NaN or infinity at [",
    "wide": "6, 4] instead of [64, 4, 6]",
    "square": "max error",
    "right": None,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of many outputs, SavedModel and float32 .tflite: not to be changed."""
    from attnexport.exporter import AttentionConcatLayer
    from attnexport.workflows.convert import convert
    from attnexport.workflows.export import export_saved_model

    keras.utils.set_random_seed(0)
    x = keras.Input((4, 6), name="x")
    y = AttentionConcatLayer(name="attention")(x)
    units = {"wide": 6, "square": 4}
    outputs = {name: keras.layers.Dense(units.get(name, 3), name=f"dense_{name}")(y) for name in TOLD}
    found = export_saved_model(keras.Model(x, outputs), tmp_path_factory.mktemp("whole"), name="m")
    convert(found.directory)
    return Path(found.directory)


def spoil(export: Path) -> None:
    """Put a SavedModel and a .tflite in place of an export's that are wrong in each of their outputs but one."""
    import tensorflow as tf

    from attnexport.exporter.endpoint import Endpoint, trace
    from attnexport.exporter.model_inputs import model_inputs
    from attnexport.exporter.saved_model import write_saved_model
    from attnexport.tflite.float_model import convert_float

    model = keras.saving.load_model(export / "keras" / "1.keras")
    layer = model.get_layer("dense_weight")
    layer.kernel.assign(layer.kernel * 1.02)

    def spoiled(tensors: dict[str, Any]) -> dict[str, Any]:
        right = model(tensors["x"])
        wrong = {
            "first": right["second"],
            "second": right["first"],
            "finite": right["finite"] / tf.cast(right["finite"] < tf.reduce_max(right["finite"]), tf.float32),
            "wide": tf.transpose(right["wide"], [0, 2, 1]),
            "square": tf.transpose(right["square"], [0, 2, 1]),
        }
        return {**right, **wrong}

    for batch in (None, 1):
        traced = trace(Endpoint("serving_default", spoiled, model_inputs(model, batch=batch).specs, feed=dict))
        path = export / "saved_model" / "1" if batch is None else export / "fixed"
        shutil.rmtree(path, ignore_errors=True)
        write_saved_model(path, [traced])
    (export / "tflite" / "1" / "m.float32.tflite").write_bytes(convert_float(export / "fixed"))
    shutil.rmtree(export / "fixed")


def test_every_fault_is_told_in_every_runtime(
    attnexport: Run, whole: Path, tmp_path: Path, forget_hashes: Callable[[Path], None]
) -> None:
    code, out, _ = attnexport("validate", whole, "--json")
    assert code == 0
    checks = json.loads(out)["checks"]
    assert {each["runtime"] for each in checks} == RUNTIMES - {"gRPC"}
    assert not [each for each in checks if each["problem"]]

    broken = Path(shutil.copytree(whole, tmp_path / "m"))
    spoil(broken)
    forget_hashes(broken)
    code, out, err = attnexport("validate", broken, "--serve", "--json")
    assert code == 5
    assert " checks failed; the first: " in err
    checks = [each for each in json.loads(out)["checks"] if each["case"] == "64 synthetic samples"]
    for name, told in TOLD.items():
        problems = {
            (each["runtime"], Path(each["artifact"]).suffix): each["problem"]
            for each in checks
            if each["output"] == name
        }
        assert {runtime for runtime, _ in problems} == RUNTIMES
        for (runtime, _), problem in problems.items():
            expected = "SQNR" if told == "max error" and runtime == "half precision" else told
            assert problem is None if expected is None else expected in problem, (name, problem)
            assert told != "max error" or "worst at [" in problem
