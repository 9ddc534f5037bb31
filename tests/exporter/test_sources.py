"""The user's own models: every form they come in, and an error for each way in which they fail."""

from __future__ import annotations

import json
import subprocess
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from attnexport.core import ArgumentError, ModelError
from attnexport.exporter import build_model, load_model, open_model
from attnexport.exporter.inspection import inspect_keras
from attnexport.exporter.keras_source import KerasSource
from attnexport.exporter.models import open_source
from attnexport.exporter.opening import open_as_written


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of its own, importable while the test runs."""
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_keras_file_is_loaded(here: Path) -> None:
    model = build_model()
    model.save("mine.keras")
    loaded = open_source("mine.keras")
    assert loaded.name == "mine"
    assert loaded.keras_file == Path("mine.keras")
    x = np.ones((2, 10, 64), np.float32)
    np.testing.assert_array_equal(loaded.model(x), model(x))


def test_an_export_gives_its_newest_original_under_its_names(exported_classifier: Any) -> None:
    loaded = open_source(exported_classifier.directory)
    assert loaded.name == "classifier"
    assert loaded.output_names == ("logits",)
    assert loaded.source == {"kind": "export", "export": "classifier", "version": 1}


def test_a_saved_model_is_taken_as_it_is(exported_classifier: Any) -> None:
    loaded = open_source(exported_classifier.path)
    assert loaded.name == "classifier"
    assert loaded.saved_model == exported_classifier.path
    with pytest.raises(ModelError, match="holds no Keras model; pass its path to export_saved_model"):
        load_model(exported_classifier.path)
    with pytest.raises(ArgumentError, match=r"base path of SavedModel versions; name one, such as .*1"):
        open_source(exported_classifier.path.parent)


def test_a_keras_2_saved_model_is_served_as_its_graph_with_a_word(here: Path, exported_classifier: Any) -> None:
    import shutil

    shutil.copytree(exported_classifier.path, here / "old")
    (here / "old" / "keras_metadata.pb").write_bytes(b"")
    loaded = open_source("old")
    assert loaded.saved_model
    assert "saved by Keras 2" in loaded.notes[0]


def test_a_factory_in_the_working_directory_is_called(here: Path) -> None:
    (here / "factories.py").write_text(
        "from attnexport.exporter import build_model\n"
        "def good(): return build_model()\n"
        "def wrong(): return 3\n"
        "def broken(): raise RuntimeError('no data')\n"
        "number = 3\n"
    )
    assert load_model("factories:good").name == "classifier"
    for name, error, message in (
        ("wrong", ModelError, r"must return a keras.Model: .*received int"),
        ("broken", ModelError, r"factories:broken\(\) failed: RuntimeError: no data"),
        ("number", ArgumentError, "has no function 'number'"),
        ("missing", ArgumentError, "has no function 'missing'"),
    ):
        with pytest.raises(error, match=message):
            load_model(f"factories:{name}")


def test_the_module_of_a_factory_is_remembered_with_the_export(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its layers are registered when a later command, in another process, loads the original."""
    import sys

    from attnexport.store import ExportDirectory
    from attnexport.store.trust import trusting
    from attnexport.workflows.export import export_saved_model

    monkeypatch.setenv("XDG_STATE_HOME", str(here / "state"))
    (here / "made_here.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='made_here')\n"
        "class Half(keras.layers.Layer):\n"
        "    def call(self, x): return x / 2\n"
        "def build(): return keras.Sequential([keras.Input((3,)), Half()], name='f')\n"
    )

    def forget() -> None:
        del sys.modules["made_here"]
        del keras.saving.get_custom_objects()["made_here>Half"]

    result = export_saved_model("made_here:build", warmup=0)
    assert result.entry.imports == ("made_here",)
    forget()
    model = open_source(result.directory).model
    np.testing.assert_array_equal(model(np.ones((1, 3))), np.full((1, 3), 0.5))
    assert ExportDirectory(result.directory).newest().imports == ("made_here",)
    forget()
    (here / "made_here.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match=r"would run made_here .*imports=\['made_here'\]"):
        open_source(result.directory)
    with trusting(), pytest.raises(ModelError, match="SystemExit: ran"):
        open_source(result.directory)


@pytest.mark.parametrize("module", ["keras.applications", "attnexport.exporter"])
def test_a_factory_of_keras_or_of_ours_names_no_module(module: str) -> None:
    from attnexport.exporter.models.sources import _remembered

    assert _remembered(module) == ()


def test_modules_that_fail_to_import_are_told_from_those_that_are_not_there(here: Path) -> None:
    (here / "needs_more.py").write_text("import nothing_of_that_name\n")
    (here / "syntax.py").write_text("def (:\n")
    with pytest.raises(ArgumentError, match=r"there is no module 'nowhere.at_all'"):
        load_model("nowhere.at_all:factory")
    with pytest.raises(ModelError, match=r"'needs_more' cannot be imported: .*nothing_of_that_name"):
        load_model("needs_more:factory")
    with pytest.raises(ModelError, match="'syntax' cannot be imported: SyntaxError"):
        load_model("x.keras", imports=["syntax"])


LAYER = """
import keras
@keras.saving.register_keras_serializable(package="theirs")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


def test_a_layer_that_is_not_registered_is_named_with_the_remedy(
    here: Path, fork_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (here / "their_layers.py").write_text(LAYER)
    code = "import keras, their_layers as t\nkeras.Sequential([keras.Input((3,)), t.Twice()]).save('theirs.keras')\n"
    assert fork_python(code).returncode == 0
    with pytest.raises(ModelError, match=r"their_layers\.Twice.*register_keras_serializable.*imports=\[MODULE\]"):
        load_model("theirs.keras")
    model = load_model("theirs.keras", imports=["their_layers"])
    np.testing.assert_array_equal(model(np.ones((1, 3))), [[2, 2, 2]])


def test_an_h5_with_operations_between_its_layers_is_loaded(here: Path) -> None:
    """An Embedding's mask is one; Keras itself does not find it again in an .h5. Add and Reshape are layers as well."""
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    inner = keras.layers.Embedding(9, 4, mask_zero=True)(tokens)
    inner = 1 + keras.ops.reshape(keras.ops.tanh(keras.layers.Dense(4)(inner)) * 2 + inner, (-1, 6, 4))
    inner = keras.layers.Reshape((6, 4))(keras.layers.Add()([inner, inner]))
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(inner)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save("masked.h5")
    values = np.array([[1, 2, 3, 0, 0, 0], [8, 7, 6, 5, 4, 3]], np.int32)
    np.testing.assert_array_equal(load_model("masked.h5")(values), model(values))


def test_what_keras_forgets_in_an_h5_is_refused(here: Path) -> None:
    x = keras.Input((3, 4), name="x")
    for number, (output, words) in enumerate(
        [
            (keras.ops.flip(x, axis=(1, 2)), r"holds Flip over several axes.*model\.save\('NAME\.keras'\)"),
            (keras.ops.flip(x, axis=1), None),
            (x[..., :2], r"cannot be loaded.*; save the model with model\.save"),
        ]
    ):
        model = keras.Model(x, keras.layers.Dense(2)(output))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(f"{number}.h5")
        if words is None:
            values = np.arange(24.0).reshape(2, 3, 4)
            np.testing.assert_array_equal(load_model(f"{number}.h5")(values), model(values))
        else:
            with pytest.raises(ModelError, match=words):
                load_model(f"{number}.h5")


def test_python_code_in_a_file_is_not_run(here: Path) -> None:
    keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)]).save("lambda.keras")
    with pytest.raises(ModelError, match=r"Lambda layer.*not run from a file"):
        load_model("lambda.keras")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


def _bad_config(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Sequential", "config": 7}))


@pytest.mark.parametrize(
    "damage", [_truncate, _flip, _other_zip, _bad_config, lambda p: p.write_bytes(b""), lambda p: p.write_text("hello")]
)
def test_a_damaged_file_is_said_to_be(here: Path, damage: Callable[[Path], Any]) -> None:
    path = here / "model.keras"
    build_model().save(path)
    damage(path)
    with pytest.raises(ModelError, match=r"model\.keras (is|cannot)"):
        load_model(path)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("old.h5", ModelError, "not a readable HDF5 file"),
        ("model.onnx", ModelError, "not a .keras file"),
        ("empty/", ModelError, "neither an export .* nor a SavedModel"),
        ("nowhere.keras", ArgumentError, "does not exist; a model is"),
        ("no such thing", ArgumentError, "does not exist; a model is"),
    ],
)
def test_what_is_no_model_gets_a_word_of_its_own(here: Path, name: str, error: type[Exception], message: str) -> None:
    if name.endswith("/"):
        (here / name).mkdir()
    elif not name.startswith("no"):
        (here / name).write_bytes(b"x")
    with pytest.raises(error, match=message):
        load_model(name)


def test_only_models_are_models() -> None:
    with pytest.raises(ArgumentError, match="received int"):
        load_model(3)  # type: ignore[arg-type]


def test_sizes_that_a_layer_refuses_are_not_those_of_the_model() -> None:
    """An older version of another architecture, with an input of the same name."""
    x = keras.Input((None,), name="x")
    source = open_model(keras.Model(x, keras.layers.Reshape((-1, 8))(x), name="m"))
    assert isinstance(source, KerasSource)
    [own] = source.signatures.values()
    for size, is_taken in ((16, True), (5, False)):
        written = replace(own, inputs=(replace(own.inputs[0], shape=(1, size)),))
        assert (open_as_written(source, [written], None) is not None) is is_taken, size


def test_a_model_computes_in_floats_alone_and_all_its_notes_are_told() -> None:
    image = keras.Input((8, 8, 3), dtype="uint8", name="image")
    bag = keras.Input((12,), sparse=True, name="bag")
    small = keras.layers.Flatten()(keras.layers.Resizing(2, 2)(image))
    rounded = keras.ops.cast(keras.ops.cast(keras.layers.Dense(3)(bag), "int32"), "float16")
    model = keras.Model([image, bag], keras.layers.Concatenate()([small, rounded]), name="m")
    assert inspect_keras(model).computes_in == ("float16", "float32")
    one, other = keras.Input((3,)), keras.Input((2,))
    unnamed = inspect_keras(keras.Model([one, other], keras.layers.Concatenate()([one, other])))
    assert [each.partition(":")[0] for each in (*unnamed.inputs, *unnamed.outputs)] == ["input_0", "input_1", "output"]
    sequential = inspect_keras(keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2, name="y")]))
    assert (sequential.inputs, sequential.outputs) == (("x: float32 [?, 3]",), ("y: float32 [?, 2]",))
    named = inspect_keras(keras.Model(one, {"b": one, "a": keras.layers.Dense(2, name="far")(one)}))
    assert (named.inputs, named.outputs) == (("input: float32 [?, 3]",), ("a: float32 [?, 2]", "b: float32 [?, 3]"))
    notes = open_model(model).notes
    assert ["sparse" in note for note in notes] == [True, False]
    assert ["image layers round" in note for note in notes] == [False, True]
