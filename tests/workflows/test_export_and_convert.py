"""Export and convert as Python functions: models in memory, results that print, and each thing done once."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import attnexport as ax
from attnexport.core import ArgumentError, ParityError, TensorSpec

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

SAMPLES = np.random.default_rng(0).standard_normal((50, 4, 8)).astype(np.float32)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """How often `.keras` files are loaded, models traced by shape, and SavedModels written."""
    from attnexport.exporter import AttentionConcatLayer, keras_source
    from attnexport.exporter.models import keras_file

    found: Counter[Any] = Counter()
    load, attend, write = keras_file.load_keras_file, AttentionConcatLayer.attend, keras_source.write_saved_model

    def count_load(path: Path) -> Any:
        found["load"] += 1
        return load(path)

    def count_trace(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        if isinstance(query, tf.Tensor) and tf.is_symbolic_tensor(query):
            found[tuple(query.shape)] += 1
        return attend(self, query, *args, **options)

    def count_write(*args: Any) -> None:
        found["write"] += 1
        write(*args)

    monkeypatch.setattr(keras_file, "load_keras_file", count_load)
    monkeypatch.setattr(AttentionConcatLayer, "attend", count_trace)
    monkeypatch.setattr(keras_source, "write_saved_model", count_write)
    return found


def small_model(**options: Any) -> Any:
    return ax.build_model(steps=4, features=8, units=8, classes=3, **options)


def test_a_model_is_loaded_once_and_each_signature_traced_once(
    attnexport: Callable[..., tuple[int, str, str]], counts: Counter[Any], tmp_path: Path
) -> None:
    small_model().save("m.keras")
    np.save("s.npy", SAMPLES)
    words = ("tflite", "m.keras", "-q", "int8", "-q", "float16", "--calibration", "s.npy")
    counts.clear()
    code, _, err = attnexport(*words)
    assert code == 0, err
    # Exported with a free batch (serving_default and attention), converted with a batch of 1.
    assert counts == {"load": 1, "write": 2, (None, 4, 8): 2, (1, 4, 8): 1}
    counts.clear()
    assert attnexport(*words)[0] == 0
    assert counts == {"load": 1, "write": 1, (None, 4, 8): 1, (1, 4, 8): 1}
    counts.clear()
    assert attnexport("savedmodel", "m.keras", "--name", "again")[0] == 0
    assert counts == {"load": 1, "write": 1, (None, 4, 8): 2}


def test_a_model_in_memory_is_exported_and_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = small_model(pooling="average")
    steps: list[str] = []
    exported = ax.export_saved_model(
        model, name="small", labels=["a", "b", "c"], progress=lambda message, **_: steps.append(message)
    )
    assert "loading the model" in steps
    assert str(exported).startswith("export/small/saved_model/1 (")
    assert "attnexport serve export/small" in str(exported)
    document = json.loads(exported.to_json())
    assert (document["version"], document["saved_model"]) == (1, "export/small/saved_model/1")
    assert "<table><thead><tr><th>signature</th>" in exported._repr_html_()

    converted = ax.convert(
        exported.directory, ["float32", "int8"], calibration=SAMPLES, evaluation={"sequence": SAMPLES}
    )
    assert [file.path.name for file in converted.files] == ["small.float32.tflite", "small.int8.tflite"]
    assert not converted.rejected
    assert re.search(r" [012] \([abc]\): [\d.]+ dB ", str(converted)), "the worst column by its label"
    assert "Parity is against Keras, on 10 held-out samples." in str(converted)
    assert [each["recipe"] for each in json.loads(converted.to_json())["files"]] == ["float32", "int8"]
    assert "<td>small.int8.tflite</td>" in converted._repr_html_()
    shown = io.StringIO()
    converted._repr_pretty_(SimpleNamespace(text=shown.write), False)
    assert shown.getvalue() == str(converted)


def test_the_same_model_in_memory_finds_its_version(tmp_path: Path) -> None:
    first = ax.convert(small_model(), "float16", output=tmp_path, name="m")
    again = ax.convert(small_model(), "dynamic", output=tmp_path, name="m")
    assert (first.version, again.version) == (1, 1)
    other = ax.convert(small_model(seed=1), "dynamic", output=tmp_path, name="m")
    assert other.version == 2
    with pytest.raises(ArgumentError, match=r"version 1 of .* is not known to be of this model"):
        ax.convert(small_model(seed=1), "dynamic", output=tmp_path, name="m", version=1)


def test_the_same_model_is_found_however_its_version_was_exported(tmp_path: Path) -> None:
    """With a batch, steps, some of its signatures or endpoints of its own: none of which make it another model."""
    from attnexport.exporter import Endpoint

    free = ax.build_model(steps=None, features=8, units=8, classes=3, pooling="average")

    def doubled(tensors: Any) -> Any:
        return {"doubled": free(tensors["sequence"]) * 2}

    own = Endpoint("doubled", doubled, (TensorSpec("sequence", "float32", (None, 4, 8)),))
    ways: tuple[dict[str, Any], ...] = (
        {"batch": 2, "steps": 4, "signatures": ["serving_default"], "labels": ["a", "b", "c"]},
        {"shapes": {"sequence": (None, 6, 8)}, "endpoints": [own], "inherit": False},
    )
    for number, options in enumerate(ways, 1):
        exported = ax.export_saved_model(free, tmp_path, name="m", new_signature=True, **options)
        assert exported.version == number
    found = [
        ax.convert(free, "float16", output=tmp_path, name="m", steps=4, version=version).version for version in (1, 2)
    ]
    assert found == [1, 2]
    newest = ax.convert(free, "dynamic", output=tmp_path, name="m", steps=4)
    assert (newest.version, [note for note in newest.notes if "exported" in note]) == (2, [])
    other = ax.build_model(steps=None, features=8, units=8, classes=3, pooling="average", seed=1)
    with pytest.raises(ArgumentError, match=r"version 1 of .* is not known to be of this model"):
        ax.convert(other, "dynamic", output=tmp_path, name="m", steps=4, version=1)


def test_versions_of_other_weights_are_told_by_one_hash_and_not_traced(
    tmp_path: Path, counts: Counter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from attnexport.exporter import keras_source
    from attnexport.workflows.versions import find_version

    hashed_weights = keras_source.hashed_weights

    def count_hash(model: Any) -> Any:
        counts["hash"] += 1
        return hashed_weights(model)

    small: dict[str, Any] = {"warmup": 0, "new_signature": True, "output": tmp_path, "name": "m"}
    first = small_model()
    ax.export_saved_model(first, **small)
    for seed in (1, 2):
        ax.export_saved_model(small_model(seed=seed), signatures=["serving_default"], **small)
    monkeypatch.setattr(keras_source, "hashed_weights", count_hash)
    counts.clear()
    found = find_version(first, output=tmp_path, name="m")
    assert found.entry is not None
    assert found.entry.version == 1
    assert (counts["hash"], counts[None, 4, 8]) == (1, 2), "serving_default and attention"


def test_a_model_in_memory_takes_over_names_and_labels(tmp_path: Path) -> None:
    """As the command does with a file: for the same model, whose version is found by them, and for the next one."""
    from attnexport.tflite.metadata import read_metadata

    labels = ("bad", "so so", "good")
    ax.export_saved_model(
        small_model(pooling="average"), output=tmp_path, name="m", labels=labels, output_names=["opinion"], warmup=0
    )
    same = ax.convert(small_model(pooling="average"), "float16", output=tmp_path, name="m")
    assert (same.version, [note for note in same.notes if "exported" in note]) == (1, [])
    other = ax.convert(small_model(pooling="average", seed=1), "dynamic", output=tmp_path, name="m")
    assert other.version == 2
    assert "output names and labels are those of version 1; inherit=False forgets them" in other.notes
    for result in (same, other):
        [file] = result.files
        assert [spec.name for spec in file.conversion.signatures["serving_default"].outputs] == ["opinion"]
        metadata = read_metadata(file.conversion.content)
        assert metadata is not None
        assert metadata.labels == labels


def test_failures_of_recipes_are_in_the_result_unless_all_fail(tmp_path: Path) -> None:
    from attnexport.tflite import RECIPES, Recipe

    strict = Recipe("strict", "int4", "dynamic", min_sqnr_db=90)
    result = ax.convert(small_model(), [RECIPES["float16"], strict], output=tmp_path, name="m")
    assert [each.recipe.name for each in result.rejected] == ["strict"]
    with pytest.raises(ParityError, match=r"the strict \.tflite was not kept") as failure:
        ax.convert(small_model(), strict, output=tmp_path, name="m")
    assert "without calibration" in failure.value.__notes__[0]


def test_a_search_is_in_the_result_with_its_picture(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4, 8), name="x"), keras.layers.Dense(8), keras.layers.Dense(3)])
    with pytest.raises(ArgumentError, match="works only with recipes='auto'"):
        ax.convert(model, "int8", search=ax.SearchOptions(trials=3))
    result = ax.convert(
        model, "auto", calibration=SAMPLES, min_sqnr_db=20, search=ax.SearchOptions(trials=3), output=tmp_path, name="m"
    )
    assert result.search is not None
    assert result.recipe_path == tmp_path / "m" / "recipes" / "1" / "auto.json"
    assert "candidates for SQNR 20 dB" in str(result)
    assert '<img src="data:image/svg+xml;base64,' in result._repr_html_()


def test_arguments_are_checked_before_tensorflow_is_loaded(run_python: Callable[..., Any]) -> None:
    code = (
        "import sys, attnexport as ax\n"
        "from attnexport.core.errors import ArgumentError\n"
        "for wrong in ({'recipes': 'int9'}, {'recipes': 'auto'}, {'calibration': 'nowhere.npz'}, {'imports': 'x'}):\n"
        "    try: ax.convert('m.keras', **wrong)\n"
        "    except ArgumentError as error: print(error)\n"
        "for call in (ax.convert, ax.export_saved_model, ax.validate, ax.inspect, "
        "lambda each: ax.deploy(each, 'o', target='docker')):\n"
        "    try: call(5)\n"
        "    except ArgumentError as error: print(error)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 9
    assert told[4:] == [
        "model must be a keras.Model or a path; received int",
        "model must be a keras.Model or a path; received int",
        "export must be a path; received int",
        "model must be a keras.Model or a path; received int",
        "export must be a path; received int",
    ]
