"""The version of an export that a command works on: found, or exported first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnexport.core import ArgumentError
from attnexport.exporter import PresetConfig, export_saved_model, find_version, is_of, open_source
from attnexport.exporter.models import LoadedModel, import_modules
from attnexport.store import ExportDirectory, VersionEntry
from attnexport.store.manifest import FILE_NAME


@dataclass(frozen=True)
class FoundVersion:
    """What MODEL, --name, --output and --version name.

    Attributes:
        directory: The export.
        entry: The version; None where the model has to be exported first.
        kind: Where the model comes from: "preset", "keras", "saved_model", "factory", "object" or "export".
        loaded: The model; None where MODEL names an export.
    """

    directory: ExportDirectory
    entry: VersionEntry | None
    kind: str
    loaded: LoadedModel | None = None


def find(source: str | PresetConfig, options: dict[str, Any], on_step: Callable[[str], None]) -> FoundVersion:
    """Find the version that a command is to work on.

    MODEL being an export, its newest version or the one that --version names. Else the newest version of its export
    that is of the same model, or the one that --version names, which must be.

    Args:
        source: MODEL or a preset.
        options: Of the command line.
        on_step: Called with what is being done now.

    Raises:
        ArgumentError: where the version does not exist, or is of another model.
        ModelError: where the model cannot be loaded.
    """
    version = options["version"]
    if isinstance(source, str) and (Path(source) / FILE_NAME).exists():
        import_modules(options["imports"])
        directory = ExportDirectory(Path(source))
        entry = directory.newest() if version is None else directory.manifest().entry(version)
        return FoundVersion(directory, entry, str(entry.source.get("kind", "export")))
    on_step("loading the model")
    loaded = open_source(source, options["imports"])
    directory = ExportDirectory(Path(options["output"]) / (options["name"] or loaded.name))
    kind = str(loaded.source["kind"])
    if version is None:
        return FoundVersion(directory, find_version(directory, loaded), kind, loaded)
    entry = directory.manifest().entry(version)
    if not is_of(directory, entry, loaded):
        raise ArgumentError(
            f"version {version} of {directory.root} is not known to be of this model; name the export itself, "
            f"{directory.root}, to work on that version, or leave --version out"
        )
    return FoundVersion(directory, entry, kind, loaded)


def export_first(
    found: FoundVersion, options: dict[str, Any], on_step: Callable[[str], None]
) -> tuple[VersionEntry, tuple[str, ...]]:
    """Export a model that has no version yet; gives the entry, and notes."""
    exported = export_saved_model(found.loaded, options["output"], name=options["name"], on_step=on_step)
    return exported.entry, (*exported.notes, f"exported first as {exported.path}, for the .tflite to stand beside")
