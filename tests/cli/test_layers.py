"""A look inside: each tensor of the original is found in each .tflite, and the loss is put where it happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

Run = Callable[..., tuple[int, str, str]]

WITHIN = ["scores", "softmax", "context", "concatenation"]


def look(export: Path, samples: Any, keep: Callable[[Any], bool] = lambda artifact: True) -> Any:
    """What is inside the artifacts of an export that are kept."""
    from attnexport.exporter import open_model, open_version
    from attnexport.store import ExportDirectory
    from attnexport.workflows.layers import look_inside

    directory = ExportDirectory(export)
    entry = directory.newest()
    origin = open_version(directory, entry)
    entry = replace(entry, artifacts=tuple(each for each in entry.artifacts if keep(each)))
    with closing(open_model(origin)) as original:
        return look_inside(directory, entry, original, samples)


@pytest.fixture(scope="module")
def rows(digits: Any) -> Any:
    with np.load(digits.evaluation) as samples:
        return {"rows": samples["rows"].astype(np.float32)}


def by_place(inside: Any, artifact: str) -> dict[tuple[str, str], tuple[Any, float]]:
    pairs = zip(inside.layers, inside.losses, strict=True)
    return {(check.layer, check.role): (check, loss) for check, loss in pairs if artifact in check.artifact}


def test_every_tensor_of_attention_is_compared(attnexport: Run, exported: Path, digits: Any) -> None:
    given = ("validate", exported, "--evaluation", digits.evaluation, "--layers")
    code, out, err = attnexport(*given, "--json")
    assert (code, err) == (0, "")
    layers = json.loads(out)["layers"]
    found = {artifact: [each for each in layers if artifact in each["artifact"]] for artifact in ("float32", "int8")}
    for each in found.values():
        assert [one["role"] for one in each if one["layer"] == "attention"] == WITHIN
        assert [one["layer"] for one in each if one["role"] == "dense"] == [
            *(f"attention/w_{name}" for name in "qkvo"),
            "hidden",
            "logits",
        ]
        assert all(one["shape"][0] == 8 and one["tensor"] for one in each)
    assert min(one["sqnr_db"] for one in found["float32"]) > 100
    assert 30 < min(one["sqnr_db"] for one in found["int8"]) < max(one["sqnr_db"] for one in found["int8"]) < 60
    assert [one["layer"] for one in found["int8"] if one["lost_db"] is None] == [f"attention/w_{n}" for n in "qkv"]
    code, out, _ = attnexport(*given)
    assert "inside tflite/1/digits-multihead.int8.tflite" in out
    assert out.count(" dB, the most") == 2


def test_without_a_float32_file_one_is_made(exported: Path, rows: Any) -> None:
    both, alone = look(exported, rows), look(exported, rows, lambda each: "float32" not in each.path)
    assert by_place(alone, "int8") == by_place(both, "int8")
    assert {each.source for each in alone.maps} == {"Keras", "tflite/1/digits-multihead.int8.tflite"}
    for each in both.maps:
        assert each.weights.shape == (4, 8, 8)
        np.testing.assert_allclose(each.weights.sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_allclose(each.weights, both.maps[0].weights, atol=0.03)
    assert both.notes == ()


@pytest.mark.parametrize(("first", "place"), [(128, ("hidden", "dense")), (10, ("logits", "dense"))])
def test_a_planted_fault_is_put_where_it_is(
    first: int, place: tuple[str, str], export: Path, rows: Any, perturb: Any
) -> None:
    """Also in the file that tensors would be matched with otherwise."""
    perturb(next(export.glob("tflite/1/*float32.tflite")), first, 1.1)
    found = by_place(look(export, rows), "float32")
    losses = {key: loss for key, (_, loss) in found.items() if loss < np.inf}
    assert max(losses, key=lambda key: losses[key]) == place
    assert losses[place] > 80
    assert found["attention", "concatenation"][0].sqnr_db > 100


@keras.saving.register_keras_serializable(package="tests")
class Doubled(keras.layers.Layer):  # type: ignore[misc]
    """A user's own layer."""

    def call(self, x: Any) -> Any:
        return keras.ops.tanh(2 * x)


def test_free_steps_a_batch_several_signatures_and_own_layers(tmp_path: Path) -> None:
    from attnexport.exporter import AttentionConcatLayer
    from attnexport.store import ExportDirectory
    from attnexport.workflows.convert import convert

    keras.utils.set_random_seed(0)
    x = keras.Input((None, 6), name="x")
    y = AttentionConcatLayer(use_projection=True, name="first")(x)
    y = Doubled(name="doubled")(keras.layers.Dense(6, name="dense")(y) + x)
    y = AttentionConcatLayer(use_causal_mask=True, name="second")(y)
    model = keras.Model(x, keras.layers.Dense(3, name="scores")(y))
    converted = convert(model, "dynamic", output=tmp_path, name="own", signatures=["attention"], batch=2, steps=5)
    directory = ExportDirectory(converted.directory)
    samples = {"x": np.random.default_rng(0).standard_normal((3, 5, 6)).astype(np.float32)}
    inside = look(directory.root, samples)
    places = by_place(inside, "dynamic")
    assert places.keys() >= {("doubled", "Doubled"), ("dense", "dense"), ("scores", "dense")}
    assert places.keys() >= {(name, role) for name in ("first", "second") for role in WITHIN}
    assert places["second", "scores"][0].shape == (3, 5, 5)
    assert min(check.sqnr_db for check, _ in places.values()) > 20
    assert [(each.layer, each.weights.shape) for each in inside.maps] == [
        ("first", (1, 5, 5)),
        ("second", (1, 5, 5)),
    ] * 2
    [note] = look(directory.root, {"x": samples["x"][:, :4]}).notes
    assert note == (
        "tflite/1/own.dynamic.tflite cannot be looked into: the samples do not have the shape of x: float32 [2, 5, 6]"
    )


def test_a_saved_model_has_no_layers(exported: Path, rows: Any) -> None:
    from attnexport.exporter import open_model
    from attnexport.store import ExportDirectory
    from attnexport.workflows.layers import Inside, look_inside

    directory = ExportDirectory(exported)
    with closing(open_model(exported / "saved_model" / "1")) as original:
        found = look_inside(directory, directory.newest(), original, rows)
    assert found == Inside(notes=("version 1 was made from a SavedModel, which has no layers to look into",))
