"""Models handed over live whose `.keras` file is not they: the SavedModel is right, and what is made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from attnexport.workflows.convert import convert
from attnexport.workflows.export import export_saved_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

X = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)


class NoConfig(keras.layers.Layer):  # type: ignore[misc]
    """Cannot be written down."""

    def call(self, x: Any) -> Any:
        return 3 * x

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError("not yet")


class Unregistered(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return 3 * x


@keras.saving.register_keras_serializable(package="live")
class Bare(keras.layers.Layer):  # type: ignore[misc]
    """Multiplies by a variable that Keras does not track."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.factor = tf.Variable(1.0)

    def call(self, x: Any) -> Any:
        return self.factor * x


@keras.saving.register_keras_serializable(package="live")
class Forgets(keras.layers.Layer):  # type: ignore[misc]
    """Its configuration lacks an argument; an attribute of it can also be set afterwards."""

    def __init__(self, factor: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return self.factor * x

    def get_config(self) -> dict[str, Any]:
        return dict(super().get_config())


def tripled(layer: Any) -> Any:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="before"), layer], name="m")


def bare() -> Any:
    layer = Bare(name="tempered")
    layer.factor.assign(3.0)
    return tripled(layer)


@keras.saving.register_keras_serializable(package="live")
class Nested(Forgets):
    """Has a layer without a name, which Keras numbers anew when it loads it."""

    def __init__(self, factor: float = 1.0, **options: Any) -> None:
        super().__init__(factor, **options)
        self.dense = keras.layers.Dense(4)

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, x: Any) -> Any:
        return self.factor * self.dense(x)


def set_afterwards() -> Any:
    layer = Forgets(name="tempered")
    layer.factor = 3.0
    return tripled(layer)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (bare, "computes something else when it is loaded again, first in layer 'tempered'"),
        (lambda: tripled(Forgets(3.0, name="tempered")), "first in layer 'tempered'"),
        (set_afterwards, "first in layer 'tempered'"),
        (lambda: tripled(Nested(3.0, name="tempered")), "first in layer 'tempered'"),
        (lambda: tripled(keras.layers.Lambda(lambda x: 3 * x)), "cannot be loaded again: it holds Python code"),
        (lambda: tripled(Unregistered()), "cannot be loaded again"),
        (lambda: tripled(NoConfig()), "cannot be written: not yet"),
    ],
    ids=[
        "bare variable",
        "forgotten argument",
        "attribute",
        "around another layer",
        "lambda",
        "unregistered",
        "no configuration",
    ],
)
def test_a_file_that_is_not_the_model_is_not_kept(make: Any, problem: str, tmp_path: Path) -> None:
    result = export_saved_model(make(), tmp_path)
    assert any(problem in note and "It was not kept: the SavedModel is right" in note for note in result.notes)
    assert result.entry.artifact("keras") is None
    assert result.entry.reference == "the SavedModel in a session"
    assert problem in result.entry.source["keras_problem"]
    assert not (result.directory / "keras").exists()


def test_a_tflite_of_the_export_computes_what_the_live_model_did(tmp_path: Path) -> None:
    from attnexport.tflite import TFLiteRunner

    model = bare()
    result = export_saved_model(model, tmp_path)
    [file] = convert(result.directory, calibration={"input": X}).files
    assert file.conversion.verdict.reference == "the SavedModel in a session"
    [answer] = TFLiteRunner(file.path).run({"input": X[:1]}).values()
    np.testing.assert_allclose(answer, model(X[:1]), atol=1e-5)
    assert convert(model, output=tmp_path).version == 1, "the live model is known again"


def test_a_live_model_that_changed_out_of_sight_is_another_version(tmp_path: Path) -> None:
    layer = Forgets(name="tempered")
    model = tripled(layer)
    assert convert(model, output=tmp_path).version == 1
    assert convert(model, output=tmp_path).version == 1
    layer.factor = 3.0
    assert convert(model, output=tmp_path).version == 2
