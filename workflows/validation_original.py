"""The original of a version, before anything is compared with it: unchanged, and still loadable."""

from __future__ import annotations

from collections.abc import Sequence

from attnexport.core import ArgumentError, GateError, ModelError
from attnexport.exporter import ModelSource, open_model
from attnexport.exporter.models.keras_file import damage_of
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


def open_exported(origin: ModelOrigin, labels: Sequence[str] | None) -> ModelSource:
    """Open the original of a version.

    Raises:
        GateError: It does not load since it is damaged, or the manifest has labels or names that do not fit it.
        ModelError: Keras cannot load it: what it says of a sound file is not a change of it.
    """
    try:
        return open_model(origin, labels=labels)
    except ArgumentError as error:
        raise GateError(f"the manifest does not fit the original: {error}; export it again") from error
    except ModelError as error:
        if origin.saved_model is not None:
            raise GateError(f"{error}; it is not what was exported: export it again") from error
        if origin.keras_file is None or (damage := damage_of(origin.keras_file)) is None:
            raise
        raise GateError(f"{origin.keras_file} is not what was exported: {damage}; export it again") from error
