"""Loading `.keras` files in safe mode, with an error for each kind of failure."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attnexport.core.errors import ContentError, ModelError, first_line
from attnexport.core.reading import check_filled, check_unpacked_size
from attnexport.core.signature import TensorSpec
from attnexport.exporter.tensorflow_errors import reason

from .declared import built_when_loaded
from .traits import flat_layers

# What to do about a file, and has been done about a live model.
_ASK_FOR_LIVE = ": hand the model over live"
_ASK_FOR_INPUTS = ": declare the inputs of its call with --input NAME:DTYPE[SHAPE], or hand the model over live"

_UNBUILT = "{} was saved before its model was built, and holds no weights: call the model once, and save it again"
_WEIGHTS = "model.weights.h5"
_MAX_CONFIG_BYTES = 1 << 26
_QUANTIZED = re.compile(r"Quantized\w*DTypePolicy")  # the one for float8 has a name of its own


def without_advice(problem: str) -> str:
    """Why a file cannot be loaded, without what its owner could do: hand the model over live."""
    return problem.partition(_ASK_FOR_LIVE)[0].partition(_ASK_FOR_INPUTS)[0]


def load_keras_file(path: Path, declared: Sequence[TensorSpec] = ()) -> Any:
    """The `keras.Model` in a `.keras` file.

    Args:
        path: The file.
        declared: The inputs of a model that does not know them itself; one that Keras cannot build is built by them.

    Raises:
        ModelError: if the file is damaged, holds a layer that is not registered, or needs unsafe loading.
    """
    import keras

    import attnexport.exporter.layers  # noqa: F401  # registers our own

    config = _read_config(path)
    if unknown := sorted(set(_unregistered(config))):
        raise ModelError(
            f"{path} uses {', '.join(unknown)}, which Keras does not know: decorate the class with "
            "@keras.saving.register_keras_serializable() and name its module with --import MODULE"
        )
    try:
        with built_when_loaded(config.get("registered_name"), declared):
            model = keras.saving.load_model(path, safe_mode=True, compile=False)
    except ModelError:
        raise
    except Exception as error:  # Keras raises whatever its parts raise
        refuse_code(path, error)
        if "could not be loaded" in str(error) and _QUANTIZED.search(json.dumps(config)):
            raise ModelError(
                f"{path} was quantized by Keras (model.quantize) with layers, such as attention, that Keras itself "
                f"does not read back from a file{_ASK_FOR_LIVE}, as package.module:factory or to export_saved_model, "
                "or save it before you quantize it"
            ) from error
        if declared and _has_no_variables(path):
            raise ModelError(_UNBUILT.format(path)) from error
        remedy = f": {_of_unbuilt(config)}" if "was never built" in str(error) and not declared else ""
        raise ModelError(f"{path} cannot be loaded: {reason(error).rstrip('.')}{remedy}") from error
    _check_restored(path, model, config, by_call=bool(declared))
    return model


def refuse_code(path: Path, error: Exception) -> None:
    """Say so if what Keras refused is a Lambda layer."""
    if any(word in str(error).lower() for word in ("safe_mode", "unsafe", "lambda")):
        raise ModelError(
            f"{path} holds Python code (a Lambda layer), which is not run from a file; "
            "write it as a registered layer, save the model again, and name the layer's "
            "module with --import MODULE"
        ) from error


def _of_unbuilt(config: Any) -> str:
    """What to do about a model that Keras cannot build by itself."""
    return (
        f"Keras cannot build {config.get('class_name')} by itself{_ASK_FOR_INPUTS}, as package.module:factory or to "
        "export_saved_model"
    )


def _check_restored(path: Path, model: Any, config: Any, *, by_call: bool) -> None:
    """Refuse a model whose layers Keras left without the weights that the file has; it only warns of that.

    Of a model that was built by a call, each variable is compared: Keras passes over those that the call did not make.
    """
    import h5py

    if by_call and not model.built:
        raise ModelError(_UNBUILT.format(path))
    if (all(layer.built for layer in flat_layers(model)) and not by_call) or not (saved := _saved_variables(path)):
        return
    lost = len(saved) - len(model.variables)
    if by_call:
        with tempfile.TemporaryDirectory() as directory, zipfile.ZipFile(path) as archive:
            again = Path(directory) / "again.weights.h5"
            model.save_weights(again)
            with archive.open(_WEIGHTS) as stored, h5py.File(stored, "r") as file, h5py.File(again, "r") as other:
                lost = sum(name not in other or not _are_equal(file[name], other[name]) for name in saved)
    if lost > 0:
        remedy = "; is it called on other inputs?" if by_call else f": {_of_unbuilt(config)}"
        raise ModelError(
            f"{path} cannot be loaded: Keras restored {len(saved) - lost} of its {len(saved)} variables{remedy}"
        )


def _saved_variables(path: Path) -> list[str]:
    """Where a file has the variables of its model, without those of the optimizer and the metrics.

    Nothing if it is of another form, which Keras reads and does not write by itself.
    """
    import h5py

    names: list[str] = []
    with zipfile.ZipFile(path) as archive:
        if _WEIGHTS not in archive.namelist():
            return []
        with archive.open(_WEIGHTS) as stored, h5py.File(stored, "r") as file:
            file.visititems(lambda name, each: names.append(name) if isinstance(each, h5py.Dataset) else None)
    # The model's own variables are vars/0 and so on.
    return [name for name in names if "/vars/" in f"/{name}" and not name.startswith(("optimizer", "metrics"))]


def _has_no_variables(path: Path) -> bool:
    """Whether a file that Keras could not load is whole, and has no variables of its model."""
    try:
        return not _saved_variables(path)
    except Exception:  # h5py raises whatever its parts raise
        return False


def _are_equal(one: Any, other: Any) -> bool:
    """Whether two datasets hold the same bytes."""
    return bool(one.shape == other.shape and one[()].tobytes() == other[()].tobytes())


def damage_of(path: Path) -> str | None:
    """Why a .keras is not as Keras wrote it, found without building the model; None if it may be."""
    import h5py

    try:
        _read_config(path)
        with zipfile.ZipFile(path) as archive:
            if missing := {"metadata.json", _WEIGHTS} - set(archive.namelist()):
                return f"it has no {', '.join(sorted(missing))}"
            with archive.open(_WEIGHTS) as weights, h5py.File(weights, "r"):
                return None
    except Exception as error:  # on damaged files zipfile and HDF5 raise whatever their parts raise
        # The path, and what would help a file of the user's own, are said by who asks.
        return first_line(error).removeprefix(f"{path} is ").removeprefix(f"{path} ").partition("; ")[0]


def objects_in(config: Any) -> Iterator[dict[str, Any]]:
    """All objects in a model's configuration, whatever holds them."""
    pending = [config]  # not by recursion, as a file may be nested as deeply as it likes
    while pending:
        each = pending.pop()
        if isinstance(each, list):
            pending += each
        elif isinstance(each, dict):
            pending += each.values()
            yield each


def _read_config(path: Path) -> Any:
    try:
        check_filled(path)
        with zipfile.ZipFile(path) as archive:
            check_unpacked_size(archive, path.stat().st_size, str(path))
            if archive.getinfo("config.json").file_size > _MAX_CONFIG_BYTES:
                raise ModelError(
                    f"{path} has a config.json of more than {_MAX_CONFIG_BYTES:,} bytes, which is not read"
                )
            _check_version(path, archive)
            damaged = archive.testzip()
            if damaged:
                raise ModelError(f"{path} is damaged: its part {damaged} fails the checksum; copy it again")
            return json.loads(archive.read("config.json"))
    except ContentError:
        raise
    except Exception as error:  # on damaged files zipfile raises whatever its parts raise
        raise ModelError(
            f"{path} is not a Keras 3 model, or damaged ({first_line(error)}); save it with model.save('NAME.keras')"
        ) from error


def _check_version(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse a file of Keras 2 (tf_keras), whose layers Keras 3 does not have."""
    if "metadata.json" not in archive.namelist():
        return
    version = str(json.loads(archive.read("metadata.json")[:_MAX_CONFIG_BYTES]).get("keras_version", "3"))
    if not version.startswith("3"):
        raise ModelError(
            f"{path} was written by Keras {version} (tf_keras), and Keras 3 does not read it: load it there and export "
            "it with model.export('DIRECTORY'), which attnexport takes as a SavedModel"
        )


def _unregistered(config: Any) -> Iterator[str]:
    """The classes in a model's configuration that neither Keras nor a registration provides."""
    import keras

    for each in objects_in(config):
        module, name = str(each.get("module") or ""), each.get("class_name")
        registered_name = each.get("registered_name")
        if (
            name
            and isinstance(registered_name, str)
            and registered_name
            and module.partition(".")[0] not in ("keras", "builtins")
            and keras.saving.get_registered_object(registered_name) is None
        ):
            yield f"{module}.{name}" if module else registered_name
