"""Artifacts on disk by what they are, and Runners over them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from attnexport.core import ArgumentError, ExportDirectory, ModelError, Runner
from attnexport.core.manifest import FILE_NAME

Kind = Literal["export", "keras", "saved_model", "tflite"]


@dataclass(frozen=True)
class FoundArtifact:
    """Something that can be looked into or run."""

    kind: Kind
    path: Path


def find_artifact(path: Path) -> FoundArtifact:
    """What is at a path.

    Raises:
        ArgumentError: where there is nothing, or a base path of several versions.
        ModelError: where it is nothing that attnexport knows.
    """
    if not path.exists():
        raise ArgumentError(f"{path} does not exist")
    if path.is_dir():
        if (path / FILE_NAME).exists():
            return FoundArtifact("export", path)
        if (path / "saved_model.pb").exists():
            return FoundArtifact("saved_model", path)
        versions = sorted(
            int(each.parent.name) for each in path.glob("*/saved_model.pb") if each.parent.name.isdecimal()
        )
        if versions:
            raise ArgumentError(
                f"{path} is a base path of SavedModel versions; name one, such as {path / str(versions[-1])}"
            )
        raise ModelError(f"{path} is neither an export (no {FILE_NAME}) nor a SavedModel (no saved_model.pb)")
    if path.suffix == ".keras":
        return FoundArtifact("keras", path)
    with path.open("rb") as file:
        if path.suffix == ".tflite" or file.read(8)[4:] == b"TFL3":
            return FoundArtifact("tflite", path)
    raise ModelError(f"{path} is no .tflite, .keras, SavedModel or export")


def artifacts_of(export: Path) -> list[FoundArtifact]:
    """The artifacts of an export's newest version, as its manifest lists them.

    Raises:
        ArgumentError: where it holds no export.
        ModelError: where one is gone.
    """
    entry = ExportDirectory(export).newest()
    kinds: dict[str, Kind] = {"keras": "keras", "saved_model": "saved_model", "tflite": "tflite"}
    found = [FoundArtifact(kinds[each.kind], export / each.path) for each in entry.artifacts if each.kind in kinds]
    for each in found:
        if not each.path.exists():
            raise ModelError(f"{each.path}, an artifact of version {entry.version}, is gone")
    return found


def open_runner(artifact: FoundArtifact, *, threads: int = 1) -> Runner:
    """A Runner over an artifact; of threads only a .tflite can be told.

    Raises:
        ModelError: where it does not load.
    """
    if artifact.kind == "tflite":
        from attnexport.tflite import TFLiteRunner

        return TFLiteRunner(artifact.path, threads=threads)
    if artifact.kind == "saved_model":
        from attnexport.exporter import SavedModelRunner

        return SavedModelRunner(artifact.path)
    from attnexport.exporter import open_original, open_source

    return open_original(open_source(artifact.path)).reference
