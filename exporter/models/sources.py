"""Where a model comes from: a preset, a `.keras` file, an export, a SavedModel or a factory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from attnexport.core.errors import ArgumentError, AttnexportError, ManifestError, ModelError, first_line
from attnexport.core.signature import DEFAULT_SIGNATURE, TensorSpec
from attnexport.core.user_modules import import_module, import_modules
from attnexport.exporter.backend import backend_notes
from attnexport.store.export_directory import ExportDirectory
from attnexport.store.kinds import kind_of
from attnexport.store.manifest import FILE_NAME, VersionEntry
from attnexport.store.trust import check_modules, trusting

from .presets import PresetConfig, build_preset

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_OWN_LAYERS = ("attnexport", "keras", "tensorflow")  # whose layers Keras knows whenever it runs


@dataclass(frozen=True)
class ModelOrigin:
    """Where a model comes from: a Keras model, which is loaded when it is first needed, or a SavedModel as it is.

    Attributes:
        name: The export's default name.
        source: For the manifest: the `kind` of origin, and its details.
        load: Returns the `keras.Model`, the same one at every call; None for a SavedModel.
        saved_model: The SavedModel's directory, None for Keras.
        keras_file: The `.keras` file that the model is read from, if any.
        input_names: Names of the inputs in an export, if not Keras's.
        output_names: Names of the outputs in an export, if not Keras's.
        notes: What the model's owner should know, one sentence each.
        imports: Modules that register its layers, already imported.
        declared: The inputs of a model that does not know them itself, as its user declared them.
    """

    name: str
    source: Mapping[str, Any]
    load: Callable[[], Any] | None = None
    saved_model: Path | None = None
    keras_file: Path | None = None
    input_names: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    declared: tuple[TensorSpec, ...] = ()

    def declaring(self, inputs: Iterable[TensorSpec]) -> ModelOrigin:
        """The origin with these inputs declared, by which a file's model may have to be built; as it is if none."""
        declared = tuple(inputs)
        if not declared or declared == self.declared:
            return self
        if self.keras_file is None:
            return replace(self, declared=declared)
        from .keras_file import load_keras_file

        return replace(self, declared=declared, load=cache(partial(load_keras_file, self.keras_file, declared)))

    @property
    def model(self) -> Any:
        """The `keras.Model`, None for a SavedModel.

        Raises:
            ModelError: if it cannot be loaded or built.
        """
        return None if self.load is None else self.load()


def load_model(
    source: str | os.PathLike[str],
    imports: Iterable[str] = (),
    *,
    inputs: Iterable[TensorSpec] = (),
    trust: bool = False,
) -> Any:
    """Load a Keras model.

    Args:
        source: A `.keras` file, an export directory, or `package.module:factory`.
        imports: Modules that register custom layers, imported first.
        inputs: The inputs of a model that does not know them itself.
        trust: Import the modules that the export names, even if it was made elsewhere.

    Returns:
        The `keras.Model`.

    Raises:
        ArgumentError: if the source or a module does not exist.
        ModelError: if it cannot be loaded, or is a SavedModel, which holds no Keras model.

    Example:
        >>> import attnexport as ax
        >>> ax.build_model(classes=3).save("mine.keras")
        >>> ax.load_model("mine.keras").output_shape
        (None, 10, 3)
    """
    with trusting(trust):
        origin = open_source(source, imports, inputs)
    if origin.load is None:
        raise ModelError(f"{source} is a SavedModel, which holds no Keras model; pass its path to export_saved_model")
    return origin.model


def open_source(source: Any, imports: Iterable[str] = (), inputs: Iterable[TensorSpec] = ()) -> ModelOrigin:
    """The origin of a `keras.Model`, a PresetConfig, a SavedModel's path, or anything that `load_model` takes.

    `inputs` are those of a model that does not know them itself. An origin is returned as it is. A `.keras` file is
    read, or a preset built, only when the model is needed.

    Example:
        >>> open_source(PresetConfig("multihead")).name
        'multihead'
    """
    imports = tuple(imports)
    import_modules(imports)
    origin = (source if isinstance(source, ModelOrigin) else _open(source)).declaring(inputs)
    notes = tuple(dict.fromkeys((*origin.notes, *backend_notes())))
    return replace(origin, imports=tuple(dict.fromkeys((*imports, *origin.imports))), notes=notes)


def _open(source: Any) -> ModelOrigin:
    if isinstance(source, PresetConfig):
        details = {"kind": "preset", **vars(source)}
        return ModelOrigin(source.preset, details, cache(partial(_build, source)), output_names=(source.output_name,))
    if not isinstance(source, str | os.PathLike):
        return _from_object(source)
    check_source(source)
    path = Path(source)
    if path.is_dir():
        return _from_directory(path)
    return _from_file(path) if path.exists() else _from_factory(str(source))


def check_source(source: str | os.PathLike[str]) -> None:
    """Refuse a path that does not name a model, without loading TensorFlow.

    Raises:
        ArgumentError: if the path does not exist and is not the name of a factory.
    """
    if not str(source):
        raise ArgumentError("the model's name is empty; without a model a preset is built")
    if not Path(source).exists() and not _FACTORY.fullmatch(str(source)):
        raise ArgumentError(
            f"model {source} does not exist; a model is a .keras file, an export directory, a SavedModel directory, "
            "or package.module:factory"
        )


def _build(config: PresetConfig) -> Any:
    try:
        return build_preset(config)
    except AttnexportError:
        raise
    except Exception as error:  # TensorFlow's, if the memory does not suffice
        raise ModelError(f"preset {config.preset!r} of these sizes cannot be built: {first_line(error)}") from error


def _from_object(model: Any) -> ModelOrigin:
    import keras

    if not isinstance(model, keras.Model):
        raise ArgumentError(f"expected a keras.Model or a path; received {type(model).__name__}")
    return ModelOrigin(model.name, {"kind": "object", "class": type(model).__name__}, lambda: model)


def _from_factory(text: str) -> ModelOrigin:
    module_name, _, function_name = text.partition(":")
    module = import_module(module_name)
    factory = getattr(module, function_name, None)
    if not callable(factory):
        raise ArgumentError(f"module {module_name!r} has no function {function_name!r}")
    try:
        built = _from_object(factory())
    except ArgumentError as error:
        raise ModelError(f"{text}() must return a keras.Model: {error}") from error
    except AttnexportError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may do anything
        raise ModelError(f"{text}() failed: {type(error).__name__}: {first_line(error)}") from error
    from .traits import has_generated_name

    # Keras names every unnamed model alike, so that two factories would share an export.
    name = f"{module_name}.{function_name}" if has_generated_name(built.model) else built.name
    source = {"kind": "factory", "factory": text}
    return replace(built, name=name, source=source, imports=_remembered(module_name))


def _remembered(module: str) -> tuple[str, ...]:
    """The factory's module, which may register the model's layers: later commands import it before they load them."""
    return () if module.partition(".")[0] in _OWN_LAYERS else (module,)


def _from_file(path: Path) -> ModelOrigin:
    from .h5_file import load_h5_file
    from .keras_file import load_keras_file

    if path.suffix in (".h5", ".hdf5"):
        # Not kept as the original, which is a .keras: it is written anew from the loaded model.
        source = {"kind": "h5", "file": path.name}
        return ModelOrigin(path.stem, source, cache(partial(load_h5_file, path)))
    if path.suffix == ".tflite":
        raise ModelError(
            f"{path} is a .tflite, which cannot be turned back into a model; pass the model it was made from"
        )
    if path.suffix != ".keras":
        raise ModelError(f"{path} is not a .keras file; save the model with model.save('NAME.keras')")
    source = {"kind": "keras", "file": path.name}
    return ModelOrigin(path.stem, source, cache(partial(load_keras_file, path)), keras_file=path)


def _from_directory(path: Path) -> ModelOrigin:
    return _from_export(path) if kind_of(path) == "export" else _from_saved_model(path, path.absolute().name)


def _from_export(path: Path) -> ModelOrigin:
    directory = ExportDirectory(path)
    return open_version(directory, directory.newest())


def open_version(directory: ExportDirectory, entry: VersionEntry) -> ModelOrigin:
    """The original of a version of an export; imports the modules that its layers came from.

    Raises:
        ArgumentError: if one of the modules cannot be found.
        ManifestError: if the version has no original.
        ModelError: if the original is gone.

    Example:
        >>> import attnexport as ax
        >>> from attnexport.store import ExportDirectory
        >>> result = ax.export_saved_model(PresetConfig(steps=4, features=8, units=16, classes=3), name="small")
        >>> open_version(ExportDirectory(result.directory), result.entry).source
        {'kind': 'export', 'export': 'small', 'version': 1}
    """
    path = directory.root
    source = entry.artifact("keras") or entry.artifact("saved_model")
    check_modules(entry.imports, path / (source.path if source else FILE_NAME))
    import_modules(entry.imports)
    origin = {"kind": "export", "export": directory.name, "version": entry.version}
    keras, saved_model = entry.artifact("keras"), entry.artifact("saved_model")
    origin_of = keras or saved_model
    default = (
        next((each for each in origin_of.signatures if each.name == DEFAULT_SIGNATURE), None) if origin_of else None
    )
    if origin_of is None or default is None:
        raise ManifestError(f"{path / FILE_NAME}: version {entry.version} has no original to export")
    original = path / origin_of.path
    if not original.exists():
        raise ModelError(f"{original}, the original of version {entry.version}, is gone")
    if keras is None:
        return replace(
            _from_saved_model(original, directory.name), name=directory.name, source=origin, imports=entry.imports
        )
    return replace(
        _from_file(original),
        name=directory.name,
        source=origin,
        input_names=tuple(spec.name for spec in default.inputs),
        output_names=tuple(spec.name for spec in default.outputs),
        imports=entry.imports,
    ).declaring(entry.declared_inputs)


def _from_saved_model(path: Path, name: str) -> ModelOrigin:
    notes: tuple[str, ...] = ()
    if (path / "keras_metadata.pb").exists():
        notes = (
            f"{path} was saved by Keras 2, whose layers Keras 3 does not restore: it is served as the graph that it "
            "is; to export the model itself, save it again as .keras",
        )
    if name.isdecimal():  # a version directory: the base path's name says more
        parent = path.absolute().parent
        name = parent.parent.name if parent.name == "saved_model" else parent.name
    return ModelOrigin(name, {"kind": "saved_model", "directory": path.name}, saved_model=path, notes=notes)
