"""The original of a version, before anything is compared with it: unchanged, and still loadable."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from attnexport.core import GateError, ModelError
from attnexport.core.errors import first_line
from attnexport.exporter import ModelSource, open_model
from attnexport.exporter.models.sources import ModelOrigin
from attnexport.store import ExportDirectory, VersionEntry


def check_unchanged(directory: ExportDirectory, entry: VersionEntry) -> None:
    """Refuse artifacts that are not what was exported.

    Raises:
        GateError: Names those that are gone or were changed.
    """
    changes = [(artifact.path, artifact.change(directory.root)) for artifact in entry.artifacts]
    wrong = [f"{path} {change}" for path, change in changes if change]
    if wrong:
        raise GateError(
            f"version {entry.version} of {directory.root} is not what was exported: {', '.join(wrong)} since; export "
            "it again"
        )


def check_loadable(path: Path) -> None:
    """Refuse a file that is not a Keras file any more; what Keras itself says of one that is, is not a change of it.

    Raises:
        GateError: It is not what was exported.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            missing = {"config.json", "metadata.json", "model.weights.h5"} - set(archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise GateError(f"{path} is not what was exported: {first_line(error)}; export it again") from error
    if missing:
        raise GateError(f"{path} is not what was exported: it has no {', '.join(sorted(missing))}; export it again")


def open_exported(origin: ModelOrigin, labels: Sequence[str] | None) -> ModelSource:
    """Open the original; a SavedModel that does not load was exported, and is not what was exported.

    Raises:
        GateError: It is a SavedModel of the export that does not load.
        ModelError: Keras cannot load it.
    """
    try:
        return open_model(origin, labels=labels)
    except ModelError as error:
        if origin.saved_model is None:
            raise
        raise GateError(f"{error}; it is not what was exported: export it again") from error
