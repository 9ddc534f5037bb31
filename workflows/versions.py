"""The version of an export that a workflow works on: an existing one of the same model, or the one to export first."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, ModelError, check_path
from attnexport.core.progress import Progress, silent

from .export import DEFAULT_OUTPUT, export_directory
from .inheritance import KEPT, names_and_labels, newest_entry, open_like

if TYPE_CHECKING:
    from attnexport.core.signature import TensorSpec
    from attnexport.exporter import ModelSource
    from attnexport.exporter.models import ModelOrigin
    from attnexport.store import ExportDirectory, VersionEntry

QUANTIZED_BY = "quantized_by"  # in a version's source: how Keras quantized the model
_LOADED = ("factory", "h5", "object")  # origins of which a version keeps no copy to compare with


@dataclass(frozen=True)
class ModelVersion:
    """A model and the version of its export.

    Attributes:
        directory: The export.
        entry: The version; None if the model has to be exported first.
        kind: Kind of the model's origin: "preset", "keras", "saved_model", "factory", "object" or "export".
        origin: Where to load the model from: the original that is kept in the version, if there is one.
        source: The model, if it had to be opened to find the version.
        kept: The names and labels that `source` took over from the last version.
        notes: What was taken over, in sentences.
    """

    directory: ExportDirectory
    entry: VersionEntry | None
    kind: str
    origin: ModelOrigin
    source: ModelSource | None = None
    kept: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def check_place(model: Any, output: str | os.PathLike[str] | None, name: str | None) -> None:
    """Refuse a place for the files of an export, which are added to that export.

    Raises:
        ArgumentError: naming the options.
    """
    from attnexport.store.kinds import is_export

    given = [option for option, value in (("--output", output), ("--name", name)) if value is not None]
    if given and isinstance(model, str | os.PathLike) and is_export(Path(model)):
        raise ArgumentError(
            f"{model} is an export, and its .tflite files are added to it; leave out {' and '.join(given)}, or name "
            f"the original, such as {Path(model) / 'keras' / '1.keras'}, to begin another export"
        )


def open_export(export: str | os.PathLike[str], version: int | None) -> tuple[ExportDirectory, VersionEntry]:
    """An export that exists, and its newest version or the given one.

    Raises:
        ArgumentError: if there is none, or no such version.
        ManifestError: if its manifest is not valid.
    """
    from attnexport.store import ExportDirectory
    from attnexport.store.kinds import is_export
    from attnexport.store.manifest import FILE_NAME

    root = check_path("export", export)
    if not root.exists():
        raise ArgumentError(f"export {export} does not exist")
    if not is_export(root):
        raise ArgumentError(f"{export} is not an export directory: it has no {FILE_NAME}")
    directory = ExportDirectory(root)
    return directory, directory.newest() if version is None else directory.manifest().entry(version)


def kind_of_model(model: Any, version: int | None = None) -> str:
    """The kind of a model's origin, as far as arguments and a manifest show it without TensorFlow.

    Raises:
        ArgumentError: if the version does not exist.
    """
    from attnexport.store import ExportDirectory
    from attnexport.store.kinds import is_export

    from .choices import PresetConfig

    if isinstance(model, PresetConfig):
        return "preset"
    if isinstance(model, str | os.PathLike) and is_export(Path(model)):
        directory = ExportDirectory(Path(model))
        entry = directory.newest() if version is None else directory.manifest().entry(version)
        return str(entry.source.get("kind", "export"))
    return "model"


def find_version(
    model: Any,
    *,
    output: str | os.PathLike[str] | None = None,
    name: str | None = None,
    version: int | None = None,
    imports: Sequence[str] = (),
    inputs: Sequence[TensorSpec] = (),
    progress: Progress = silent,
) -> ModelVersion:
    """Find the version of a model's export.

    If the model is an export, it is the newest version, or the given one. Else it is the newest version in
    `output/name` that is of the same model, or the given one, which must be. A Keras model in memory, or from a
    factory, is the same if its weights, its configuration and its signatures are, and if the version's SavedModel
    computes what it does.

    Args:
        model: A `keras.Model`, a PresetConfig, the path of a `.keras` file, an export or a SavedModel, or a factory's
            `package.module:function`.
        output: The directory of all exports; `export` if None.
        name: The export's name; the preset's, the file's or the model's if None.
        version: The version; the newest that fits if None.
        imports: Modules that register custom layers.
        inputs: The inputs of a model that does not know them itself.
        progress: Called with what is being done now.

    Raises:
        ArgumentError: if the version does not exist, or is of another model.
        ModelError: if the model cannot be loaded.
    """
    from attnexport.core.user_modules import import_modules
    from attnexport.exporter import open_source, open_version
    from attnexport.store import ExportDirectory
    from attnexport.store.kinds import is_export

    if isinstance(model, str | os.PathLike) and is_export(Path(model)):
        import_modules(imports)
        directory = ExportDirectory(Path(model))
        entry = directory.newest() if version is None else directory.manifest().entry(version)
        kind = str(entry.source.get("kind", "export"))
        kept = open_original(directory, entry)
        if kept.saved_model is not None and (mode := entry.source.get(QUANTIZED_BY)):
            raise ModelError(
                f"version {entry.version} of {directory.root} was quantized by Keras ({mode}) and keeps no .keras, as "
                "Keras cannot read it back; TFLite's converter needs the model with float weights: convert it live "
                "(package.module:factory, or attnexport.convert(model) from Python)"
            )
        return ModelVersion(directory, entry, kind, kept.declaring(inputs))
    progress("loading the model")
    origin = open_source(model, imports, inputs)
    directory = export_directory(DEFAULT_OUTPUT if output is None else output, origin.name if name is None else name)
    kind, versions = str(origin.source["kind"]), directory.manifest().versions
    candidates = versions if version is None else (directory.manifest().entry(version),)
    if candidates and kind in _LOADED:
        found = _find_loaded(directory, candidates, origin, kind)
    else:
        entries = (each for each in reversed(candidates) if _is_of(directory, each, origin))
        newest = next(entries, None)
        found = ModelVersion(directory, newest, kind, open_version(directory, newest) if newest else origin)
    if found.entry is not None:
        return found
    if version is not None:
        raise ArgumentError(
            f"version {version} of {directory.root} is not known to be of this model; name the export itself, "
            f"{directory.root}, to work on that version, or leave --version out"
        )
    return found


def _find_loaded(
    directory: ExportDirectory, candidates: Sequence[VersionEntry], origin: ModelOrigin, kind: str
) -> ModelVersion:
    """The newest version of a model that is in memory; without an entry, the model with the last version's names."""
    from attnexport.exporter import open_model

    opened: list[tuple[dict[str, list[str]], ModelSource]] = []  # a version may have been given other names
    for entry in reversed(candidates):
        given = names_and_labels(entry)
        source = next((each for names, each in opened if names == given), None)
        if source is None:
            names = given.get("input_names", ()), given.get("output_names", ())
            # Labels may need sizes that only the version has.
            for labels in dict.fromkeys((tuple(given.get("labels", ())) or None, None)):
                with suppress(ArgumentError):  # names of another model
                    source = open_model(origin, input_names=names[0], output_names=names[1], labels=labels)
                    break
            else:
                continue
            opened.append((given, source))
        if _is_loaded(directory, entry, source, given.get("labels")):
            return ModelVersion(directory, entry, kind, origin, source)
    source, kept, notes = open_like(newest_entry(directory), origin)
    return ModelVersion(directory, None, kind, origin, source, kept, notes)


def _is_loaded(
    directory: ExportDirectory, entry: VersionEntry, source: ModelSource, labels: Sequence[str] | None
) -> bool:
    """Whether a version is of a model in memory."""
    from attnexport.exporter.gate import computes_as
    from attnexport.exporter.keras_source import KerasSource
    from attnexport.exporter.opening import open_as_written

    saved_model = entry.artifact("saved_model")
    kept = entry.artifact("keras") or saved_model
    if kept is None or saved_model is None or not isinstance(source, KerasSource):
        return False
    written = {each.name: each for each in saved_model.signatures}
    if kept.content_hash != source.hash_as(labels, written):  # most versions, without tracing the model again
        return False
    like = open_as_written(source, saved_model.signatures, labels)
    # Signatures that the model does not offer are those that only whoever made the endpoints can trace.
    if like is None or any(str(written.get(name)) != str(each) for name, each in like.signatures.items()):
        return False
    # What is not in a configuration or a weight, such as an attribute set afterwards, is in no hash.
    return computes_as(directory.root / saved_model.path, like)


def open_original(directory: ExportDirectory, entry: VersionEntry) -> ModelOrigin:
    """The original of a version, as `exporter.open_version` gives it, or the model that it was, built again.

    A model that Keras quantized, and cannot read back, is kept as a SavedModel alone. Its .tflite files are made of its
    float weights, which the factory's model has, and are compared with that.

    Raises:
        ArgumentError: if a module cannot be found.
        ManifestError: if the version has no original.
        ModelError: if the original is gone, or the factory fails.
    """
    from attnexport.exporter import open_model, open_source, open_version
    from attnexport.exporter.gate import computes_as

    kept = open_version(directory, entry)
    factory = str(entry.source.get("factory", ""))
    # Only modules that the version imports, which was trusted for that.
    if kept.saved_model is None or QUANTIZED_BY not in entry.source or factory.partition(":")[0] not in entry.imports:
        return kept
    given = names_and_labels(entry)
    live = replace(
        open_source(factory, entry.imports),
        name=directory.name,
        input_names=tuple(given.get("input_names", ())),
        output_names=tuple(given.get("output_names", ())),
    )
    source = open_model(live)
    try:
        # Not by its hash, since Keras numbers layers anew each time that they are built.
        return live if computes_as(kept.saved_model, source) else kept
    finally:
        source.close()


def _is_of(directory: ExportDirectory, entry: VersionEntry, origin: ModelOrigin) -> bool:
    """Whether a version is of this very file or preset."""
    root = directory.root
    keras, saved_model = entry.artifact("keras"), entry.artifact("saved_model")
    if origin.keras_file:
        return keras is not None and _is_same(origin.keras_file, root / keras.path)
    if origin.saved_model:
        return keras is None and saved_model is not None and _is_same(origin.saved_model, root / saved_model.path)
    # A preset is seeded.
    details = {key: value for key, value in entry.source.items() if key not in (*KEPT, QUANTIZED_BY)}
    return details == {**origin.source, "imports": list(origin.imports)}


def _is_same(source: Path, kept: Path) -> bool:
    """Whether a file is kept unchanged, or all of a directory's, apart from warm-up records."""
    if source.is_file():
        return kept.is_file() and filecmp.cmp(source, kept, shallow=False)
    files = [each for each in source.rglob("*") if each.is_file() and "assets.extra" not in each.parts]
    return all(_is_same(each, kept / each.relative_to(source)) for each in files)
