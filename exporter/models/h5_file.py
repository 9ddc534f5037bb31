"""Loading `.h5` files of Keras 3 in safe mode, with an error for each kind of failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnexport.core.errors import ModelError
from attnexport.core.reading import check_filled
from attnexport.exporter.tensorflow_errors import reason

from .h5_check import check_h5
from .keras_file import objects_in, refuse_code


def load_h5_file(path: Path) -> Any:
    """The `keras.Model` in an `.h5` file that Keras 3 wrote.

    Raises:
        ModelError: if an older Keras wrote it, it holds weights alone, is damaged, or needs unsafe loading.
    """
    import h5py
    import keras

    import attnexport.exporter.layers  # noqa: F401  # registers our own

    try:
        check_filled(path)
        with h5py.File(path, "r") as file:
            check_h5(file, path.stat().st_size)
            version, config = _text(file.attrs.get("keras_version")), _text(file.attrs.get("model_config"))
    except OSError as error:
        raise ModelError(f"{path} is not a readable HDF5 file; save the model with model.save('NAME.keras')") from error
    if not config:
        raise ModelError(
            f"{path} holds weights alone: load them into their model with load_weights, and save that with "
            "model.save('NAME.keras')"
        )
    if not version.startswith("3"):
        raise ModelError(
            f"{path} is a model of Keras {version or '1'}: load it with the Keras that wrote it (tf_keras), and export "
            "it from there with model.export('DIRECTORY'), which attnexport takes as a SavedModel"
        )
    try:
        if several := sorted(set(_of_several_axes(json.loads(config)))):
            raise ModelError(
                f"{path} holds {', '.join(several)} over several axes, which Keras forgets when it reads an .h5; save "
                "the model with model.save('NAME.keras')"
            )
        return keras.saving.load_model(path, custom_objects=_operations(), safe_mode=True, compile=False)
    except ModelError:
        raise
    except Exception as error:  # Keras raises whatever its parts raise
        refuse_code(path, error)
        remedy = "save the model with model.save('NAME.keras'), which keeps what is between layers"
        if "Unknown layer" in str(error):
            remedy = (
                "decorate a class of your own with @keras.saving.register_keras_serializable() and name its module "
                "with --import MODULE"
            )
        raise ModelError(f"{path} cannot be loaded: {reason(error)}; {remedy}") from error


def _of_several_axes(config: Any) -> Iterator[str]:
    """The classes in an .h5's configuration whose `axis` is a list of several: Keras drops it without a word."""
    for each in objects_in(config):
        inner = each.get("config")
        axis = inner.get("axis") if isinstance(inner, dict) else None
        if isinstance(axis, list) and len(axis) > 1:
            yield str(each.get("class_name"))


def _operations() -> dict[str, type]:
    """Keras's own operations by name: what a graph between layers holds, such as the mask of an Embedding (NotEqual).

    Keras writes them to an .h5 and finds only layers when it reads one. Some names are a layer's as well (Add,
    Reshape); of these two, the layer alone says in its configuration whether it is trainable.
    """
    import keras

    found, pending = {}, [keras.Operation]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind.__module__.startswith("keras.src.ops."):
            layer = getattr(keras.layers, kind.__name__, None)
            found[kind.__name__] = _either(layer, kind) if layer else kind
    return found


def _either(layer: Any, operation: Any) -> type:
    """Stands for a layer and an operation of one name."""

    class Either:
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return (layer if "trainable" in config else operation).from_config(config)

    return Either


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
