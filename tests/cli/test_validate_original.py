"""An original or a manifest that is not what was exported: exit code 5, before anything is compared."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from attnexport.core import Arrays, ModelError, Signature, TensorSpec
from attnexport.store import ExportDirectory

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]  # opens the digits export

Run = Callable[..., tuple[int, str, str]]


def test_what_the_manifest_says_wrongly_is_5(attnexport: Run, export: Path) -> None:
    """Labels that do not fit the original, and one input too many."""
    manifest = export / "attnexport.json"
    document = json.loads(manifest.read_text())
    document["versions"][0]["source"]["labels"] = ["zero", "one"]
    manifest.write_text(json.dumps(document))
    code, _, err = attnexport("validate", export)
    assert (code, "the manifest does not fit the original: 2 label(s)" in err) == (5, True), err
    del document["versions"][0]["source"]["labels"]
    artifact = next(each for each in document["versions"][0]["artifacts"] if each["kind"] == "keras")
    default = next(each for each in artifact["signatures"] if each["name"] == "serving_default")
    default["inputs"].append({**default["inputs"][0], "name": "other"})
    manifest.write_text(json.dumps(document))
    code, _, err = attnexport("validate", export)
    assert (code, "the manifest does not fit the original: 2 names were given" in err) == (5, True), err


@pytest.mark.parametrize(
    ("part", "size", "told"),
    [
        ("model.weights.h5", 4000, "truncated file"),
        ("config.json", 400, "Expecting"),
        ("model.weights.h5", 0, "has no model.weights.h5"),
    ],
)
def test_a_damaged_original_is_not_what_was_exported(
    part: str, size: int, told: str, attnexport: Run, export: Path, forget_hashes: Any
) -> None:
    path = export / "keras/1.keras"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            if name != part or size:
                archive.writestr(name, content[:size] if name == part else content)
    forget_hashes(export)
    code, _, err = attnexport("validate", export)
    assert (code, "1.keras is not what was exported" in err, told in err) == (5, True, True), err


def test_a_method_that_tf_serving_does_not_know_is_a_finding(export: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    from attnexport.exporter import SavedModelRunner
    from attnexport.parity import Subject
    from attnexport.workflows.validation_structure import structure_checks

    path = export / "saved_model/1/saved_model.pb"
    message = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    message.meta_graphs[0].signature_def["attention"].method_name = "what/ever"
    path.write_bytes(message.SerializeToString())
    directory = ExportDirectory(export)
    entry = directory.newest()
    with closing(SavedModelRunner(path.parent)) as runner:
        subject = Subject.of(entry.artifact("saved_model"), "session", runner)
        [check] = structure_checks(directory, entry, [subject], "float32")
    assert str(check) == (
        "saved_model/1 (session), signature 'attention': has method 'what/ever', which TF Serving refuses"
    )


def test_what_does_not_load_is_not_what_was_exported(attnexport: Run, export: Path, forget_hashes: Any) -> None:
    """A damaged SavedModel, .keras or warm-up record of a listed artifact is 5, and its report does not end early."""
    (export / "saved_model/1/assets.extra/tf_serving_warmup_requests").write_bytes(b"not a record")
    forget_hashes(export)
    code, out, err = attnexport("validate", export, "--json")
    assert code == 5, err
    document = json.loads(out)
    [warmup] = [each for each in document["checks"] if each["case"] == "what was exported"]
    assert "warm-up records are damaged" in warmup["problem"]
    assert "older than hashes" in " ".join(document["notes"])
    (export / "saved_model/1/saved_model.pb").write_bytes(b"\0\1\2")
    code, out, err = attnexport("validate", export)
    assert (code, "does not load in a session" in err) == (5, True), err
    assert "tflite/1/digits-multihead.int8.tflite" in out
    (export / "keras/1.keras").write_bytes(b"\0\1\2")
    code, _, err = attnexport("validate", export)
    assert (code, "keras/1.keras is not what was exported" in err) == (5, True), err


def test_half_precision_that_the_kernels_do_not_run_is_said_and_not_judged() -> None:
    """XNNPACK refuses a transposed convolution of dynamic weights in float16, and only when it is run."""
    from attnexport.parity import Subject
    from attnexport.parity.checks import HALF
    from attnexport.workflows.validation_subjects import without_half

    class Unprepared:
        spec = TensorSpec("x", "float32", (None, 2))
        signatures: ClassVar = {"serving_default": Signature("serving_default", (spec,), (spec,))}

        def run(self, inputs: Arrays, signature: str = "serving_default") -> Arrays:
            raise ModelError("failed to prepare")

        def close(self) -> None:
            """Nothing is open."""

    subjects = [Subject("a.tflite", runtime, "dynamic", Unprepared()) for runtime in (HALF, "interpreter")]
    kept, [note] = without_half(subjects, {"x": np.zeros((2, 2), np.float32)})
    assert [each.runtime for each in kept] == ["interpreter"]
    assert note == "half precision of a.tflite is not compared: this CPU does not run it so (failed to prepare)"
