"""A model file as something to serve: a .keras is exported to a temporary place, a .tflite linked into one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attnexport.core.errors import ArgumentError
from attnexport.core.progress import Progress

from .serve_settings import ServeSettings


@dataclass(frozen=True)
class Servable:
    """What `serve` is given in place of a file.

    Attributes:
        export: An export directory; None if `settings` name a base path.
        settings: The settings of the server.
        temporary: The directory that holds it.
    """

    export: Path | None
    settings: ServeSettings
    temporary: tempfile.TemporaryDirectory[str]


def is_model_file(path: str | Path | None) -> bool:
    """Whether a path is a model's file, and not an export directory."""
    return path is not None and Path(path).is_file() and Path(path).suffix in (".keras", ".tflite")


def make_servable(path: Path, settings: ServeSettings, imports: Sequence[str], progress: Progress) -> Servable:
    """Make a file servable under the name of the file.

    Raises:
        ArgumentError: if settings name something else to serve.
        ContentError: if a model cannot be loaded or exported.
    """
    if settings.model_base_path or settings.model_config_file:
        raise ArgumentError(f"{path} and a base path or configuration file were given; give one of them")
    temporary = tempfile.TemporaryDirectory(prefix="attnexport-serve-")
    root = Path(temporary.name)
    if path.suffix == ".tflite":
        version = root / path.stem / "1"
        version.mkdir(parents=True)
        shutil.copyfile(path, version / "model.tflite")
        settings = replace(
            settings, model_base_path=str(version.parent), model_name=path.stem, prefer_tflite_model=True
        )
        return Servable(None, settings, temporary)
    from .export import export_saved_model

    result = export_saved_model(path, root, imports=imports, progress=progress)
    return Servable(result.directory, settings, temporary)
