"""Models that do not know their inputs, live and from files: built by a call on those that the user declares."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from attnexport.core import ArgumentError, ContentError, ModelError, TensorSpec
from attnexport.exporter import open_model
from attnexport.store import ExportDirectory
from attnexport.workflows.artifacts import artifacts_of, open_runner
from attnexport.workflows.convert import convert
from attnexport.workflows.export import export_saved_model
from attnexport.workflows.inspect import inspect

pytestmark = pytest.mark.slow


@keras.saving.register_keras_serializable(package="any")
class Pair(keras.Model):  # type: ignore[misc]
    """Takes two arguments, of which one is tokens; Keras keeps neither shape nor dtype of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.table, self.out = keras.layers.Embedding(30, 4), keras.layers.Dense(2)
        self.shift = self.add_weight(shape=(4,), initializer="zeros", name="shift")

    def call(self, tokens: Any, values: Any) -> Any:
        return self.out(self.table(tokens) + values + self.shift)


def test_inputs_that_keras_does_not_know_are_declared(tmp_path: Path, described: Any) -> None:
    with pytest.raises(ModelError, match=r"declare.*inputs=\[TensorSpec\.parse\('NAME:DTYPE\[SHAPE\]'\)\]"):
        export_saved_model(Pair(name="pair"), tmp_path)
    inputs = [TensorSpec.parse("tokens:int32[?,6]"), TensorSpec.parse("values:float32[?,6,4]")]
    result = export_saved_model(Pair(name="pair"), tmp_path, inputs=inputs)
    assert "(tokens: int32 [?, 6], values: float32 [?, 6, 4])" in described(result)["serving_default"]
    with pytest.raises(ArgumentError, match="knows its inputs"):
        open_model(keras.Model(known := keras.Input((3,), name="x"), keras.layers.Dense(2)(known)), inputs=inputs)


@keras.saving.register_keras_serializable(package="any")
class Late(keras.Model):  # type: ignore[misc]
    """Keras raises of its normalization where it only warns of others, and the call makes a layer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.parts = {"norm": [keras.layers.LayerNormalization()], "out": keras.layers.Dense(2)}

    def call(self, codes: Any, values: Any, training: Any = None) -> Any:
        if not hasattr(self, "late"):
            self.late = keras.layers.Dense(4)
        return self.parts["out"](self.late(self.parts["norm"][0](keras.ops.one_hot(codes, 5) + values)))


PAIR = ["tokens:int32[?,6]", "values:float32[?,6,4]"]
LATE = ["codes:int32[?,6]", "values:float32[?,6,5]"]


@pytest.mark.filterwarnings("ignore:Model '.*' had a build config")
@pytest.mark.parametrize(
    ("kind", "written", "lost"), [(Pair, PAIR, "restored 1 of its 4"), (Late, LATE, "never built")]
)
def test_a_file_that_keras_cannot_build_is_built_by_declared_inputs(
    kind: Any, written: list[str], lost: str, tmp_path: Path, described: Any
) -> None:
    """Keras warns, and gives layers that would be made anew, at random, by the first call."""
    model, specs = kind(name="pair"), [TensorSpec.parse(each) for each in written]
    sizes = [(2, *(spec.shape or ())[1:]) for spec in specs]
    inputs = {spec.name: np.ones(size, spec.dtype) for spec, size in zip(specs, sizes, strict=True)}
    expected = np.asarray(model(**inputs))
    path = tmp_path / "pair.keras"
    model.save(path)
    with pytest.raises(ModelError, match=rf"{lost}.*declare the inputs of its call.*or hand the model over live"):
        open_model(path)
    source = open_model(path, inputs=specs)
    [output] = source.reference.run(inputs).values()
    np.testing.assert_allclose(output, expected, atol=1e-6)
    result = export_saved_model(path, tmp_path, inputs=specs, input_names=["one", "two"])
    assert "(one: int32 [?, 6]" in described(result)["serving_default"]
    assert result.entry.declared_inputs == tuple(specs)
    for each in artifacts_of(result.directory):  # as `benchmark` opens them
        open_runner(each)
    assert inspect(result.directory / "keras" / "1.keras").contents.weight_bytes
    assert convert(result.directory, "float32").files[0].conversion.verdict  # the version's own .keras, in turn


class Named(keras.Model):  # type: ignore[misc]
    """Takes a dict whose keys are not usable as names of inputs."""

    def __init__(self) -> None:
        super().__init__(name="named")
        self.out = keras.layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.out(inputs["my tokens"] + inputs["b:0"])


def test_declared_inputs_of_any_name_are_read_back(tmp_path: Path) -> None:
    specs = [TensorSpec("my tokens", "float32", (None, 3)), TensorSpec("b:0", "float32", (None, 3))]
    result = export_saved_model(Named(), tmp_path, inputs=specs)
    assert ExportDirectory(result.directory).newest().declared_inputs == tuple(specs)
    with pytest.raises(ContentError, match="would take more than"):
        export_saved_model(Named(), tmp_path, inputs=[replace(each, shape=(None, 12 * 10**8)) for each in specs])


@pytest.mark.filterwarnings("ignore:Model '.*' had a build config")
@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.filterwarnings("ignore:`build..` was called on layer 'late'")
def test_a_call_that_does_not_make_all_variables_of_the_file_is_refused(tmp_path: Path) -> None:
    specs, path = [TensorSpec.parse(each) for each in LATE], tmp_path / "late.keras"
    model = Late(name="late")
    model.save(path)
    for unbuilt in (model, keras.Sequential([keras.layers.Dense(2)])):
        unbuilt.save(path)
        with pytest.raises(ModelError, match=r"late\.keras was saved before its model was built, and holds no weights"):
            open_model(path, inputs=specs[: 2 if unbuilt is model else 1])
    model.extra = keras.layers.Dense(3)
    model(np.ones((2, 6), np.int32), np.ones((2, 6, 5), np.float32))
    model.extra(np.ones((2, 3), np.float32))
    model.save(path)
    with pytest.raises(ModelError, match=r"Keras restored 6 of its 8 variables"):
        open_model(path, inputs=specs)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, b"damaged" if name.endswith(".h5") else content)
    with pytest.raises(ModelError, match=r"late\.keras cannot be loaded"):
        open_model(path, inputs=specs)
