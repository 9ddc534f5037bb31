"""The version of an export that a command works on: found, or exported first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnexport.core import ArgumentError, ExportDirectory, VersionEntry
from attnexport.core.manifest import FILE_NAME
from attnexport.exporter import PresetConfig, export_saved_model, find_version, open_source
from attnexport.exporter.models import import_modules


@dataclass(frozen=True)
class FoundVersion:
    """A version of an export, and notes on how it came about."""

    directory: ExportDirectory
    entry: VersionEntry
    notes: tuple[str, ...] = ()


def find_or_export(source: str | PresetConfig, options: dict[str, Any], on_step: Callable[[str], None]) -> FoundVersion:
    """The version that MODEL, --name, --output and --version name.

    MODEL being an export, its newest version or the one that --version names. Else the newest version of its export
    where that is of the same model, and a new one where it is not.

    Args:
        source: MODEL or a preset.
        options: Of the command line.
        on_step: Called with what is being done now.

    Raises:
        ArgumentError: where the version does not exist.
        ModelError: where the model cannot be loaded.
    """
    version = options["version"]
    import_modules(options["imports"])
    if isinstance(source, str) and (Path(source) / FILE_NAME).exists():
        directory = ExportDirectory(Path(source))
        return FoundVersion(directory, _entry(directory, version))
    on_step("loading the model")
    loaded = open_source(source)
    directory = ExportDirectory(Path(options["output"]) / (options["name"] or loaded.name))
    if version is not None:
        return FoundVersion(directory, _entry(directory, version))
    entry = find_version(directory, loaded, options["imports"])
    if entry is not None:
        return FoundVersion(directory, _entry(directory, entry.version))
    exported = export_saved_model(
        source, options["output"], name=options["name"], imports=options["imports"], on_step=on_step
    )
    note = f"exported first as {exported.path}, for the .tflite to stand beside"
    return FoundVersion(directory, exported.entry, (*exported.notes, note))


def _entry(directory: ExportDirectory, version: int | None) -> VersionEntry:
    entry = directory.newest() if version is None else directory.manifest().entry(version)
    imports = entry.source.get("imports", [])
    if not isinstance(imports, list):
        raise ArgumentError(f"{directory.root / FILE_NAME}: imports of version {entry.version} are no list")
    import_modules(imports)
    return entry
