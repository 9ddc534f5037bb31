"""A .keras file of somebody who means harm: it runs nothing, reads no file of the user's, and writes nowhere else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf

from attnexport.core import ContentError, ModelError
from attnexport.exporter.models import load_model

FILE = Path(__file__).parents[1] / "store" / "exports" / "0.1.0" / "small" / "keras" / "1.keras"
CODE = ["4wEAAAAAAAAAAAAAAAEAAAADAAAA8w==", None, None]  # begins as the bytes of a lambda do


def write(path: Path, change: Callable[[Any], object] = lambda config: None, members: Mapping[str, bytes] = {}) -> None:
    """Write the small model with a changed configuration and other members."""
    with zipfile.ZipFile(FILE) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, "config.json": json.dumps(config).encode(), **members}.items():
            archive.writestr(name, content)


def layer(module: str, class_name: str, registered: str | None = None, /, **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered}


def function(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


LAMBDA = layer("keras.layers", "Lambda", name="evil", function={"class_name": "__lambda__", "config": {"code": CODE}})
LAYERS = {
    "code": LAMBDA,
    "code within a layer": layer("keras.layers", "TimeDistributed", name="evil", layer=LAMBDA),
    "code within a model": layer("keras", "Sequential", name="evil", layers=[LAMBDA]),
    "a SavedModel": layer("keras.layers", "TFSMLayer", name="evil", filepath="saved_model", call_endpoint="serve"),
    "a vocabulary": layer("keras.layers", "StringLookup", name="evil", vocabulary="secret.txt"),
    "a vocabulary of a text": layer("keras.layers", "TextVectorization", name="evil", vocabulary="secret.txt"),
    "a module of Python": layer("os", "system", name="evil"),
    "a module of Python under our name": layer("os", "system", "attnexport>Evil", name="evil"),
    "a module of the directory": layer("evil", "Layer", name="evil"),
    "a download": layer("keras.layers", "Dense", name="evil", units=2, activation=function("keras.utils", "get_file")),
    "eval": layer("keras.layers", "Dense", name="evil", units=2, activation=function("builtins", "eval")),
    "a function of a module": layer("keras.layers", "Dense", units=2, activation=function("os", "getcwd")),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with what a file would like to have run or read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('PWNED', 'w')")
    (tmp_path / "secret.txt").write_text("PRIVATE KEY\nmore\n")
    return tmp_path


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_runs_and_reads_nothing(here: Path, kind: str) -> None:
    def change(config: Any) -> None:
        config["config"]["layers"][-1] = LAYERS[kind]

    module = tf.Module()
    module.serve = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None], tf.float32)])
    if kind == "a SavedModel":
        tf.saved_model.save(module, "saved_model")
    write(here / "m.keras", change)
    with pytest.raises(ModelError) as caught:
        load_model("m.keras")
    assert "PRIVATE" not in str(caught.value)
    assert not (here / "PWNED").exists()


def test_members_are_unpacked_nowhere_else(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = here / "a" / "b" / "c"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    (inner / "unpacked").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(inner / "unpacked"))
    names = ("../evil.txt", "../../evil.txt", "assets/../../../evil.txt", f"{here}/absolute.txt", "assets/x/../../../y")
    write(inner / "m.keras", members=dict.fromkeys(names, b"evil"))
    with contextlib.suppress(ModelError):
        load_model("m.keras")
    found = {each.relative_to(here).as_posix() for each in here.rglob("*") if each.is_file()}
    assert {each for each in found if not each.startswith("a/b/c/unpacked/")} == {
        "evil.py",
        "secret.txt",
        "a/b/c/m.keras",
    }


def _outside(weights: h5py.File, name: str) -> None:
    weights[name] = h5py.ExternalLink("other.h5", "x")


def _raw(weights: h5py.File, name: str) -> None:
    weights.create_dataset(name, (2,), "f4", external=[("secret.txt", 0, 8)])


def _virtual(weights: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
    weights.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("replace", [_outside, _raw, _virtual])
def test_weights_come_from_the_file_itself(here: Path, replace: Callable[[h5py.File, str], None]) -> None:
    with h5py.File("other.h5", "w") as other:
        other["x"] = np.ones(2, np.float32)
    with zipfile.ZipFile(FILE) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as weights:
        datasets: list[str] = []
        weights.visititems(lambda name, each: datasets.append(name) if isinstance(each, h5py.Dataset) else None)
        last = next(name for name in datasets if weights[name].shape == (2,))
        del weights[last]
        replace(weights, last)
    write(here / "m.keras", members={"model.weights.h5": content.getvalue()})
    with pytest.raises(ModelError):
        load_model("m.keras")


def test_a_pipe_is_not_opened(here: Path) -> None:
    for name in ("m.keras", "m.h5"):
        os.mkfifo(here / name)
        with pytest.raises(ContentError, match="is not a regular file"):
            load_model(name)
