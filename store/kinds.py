"""What is at a path: an export directory, a SavedModel, a Keras file or a .tflite."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attnexport.core.errors import ArgumentError, ModelError
from attnexport.core.reading import is_regular

from .manifest import FILE_NAME

Kind = Literal["export", "keras", "saved_model", "tflite"]

GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt")
_TFLITE_IDENTIFIER = b"TFL3"  # bytes 4 to 8 of the file


def kind_of(path: Path) -> Kind:
    """Tell what is at a path, without loading it.

    Args:
        path: A file or directory.

    Returns:
        `export` for a directory with a manifest, `saved_model` for one with a SavedModel's graph; `keras` for a
        `.keras` file, `tflite` for a `.tflite` file or one with its identifier.

    Raises:
        ArgumentError: if nothing is there, or if it is the base path of several SavedModels.
        ModelError: if it is something else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     file = Path(name) / "model.tflite"
        ...     _ = file.write_bytes(b"")
        ...     kind_of(file)
        'tflite'
    """
    if path.is_dir():
        return _kind_of_directory(path)
    if is_regular(path):
        if path.suffix == ".keras":
            return "keras"
        if path.suffix == ".tflite" or _has_identifier(path):
            return "tflite"
    elif not path.exists():
        raise ArgumentError(f"{path} does not exist")
    raise ModelError(f"{path} is not a .tflite, a .keras, a SavedModel or an export")


def is_export(path: Path) -> bool:
    """Whether a directory is an export: it has a manifest."""
    return (path / FILE_NAME).is_file()


def graph_file(path: Path) -> Path | None:
    """The file with a SavedModel's graph, None if the directory holds no SavedModel."""
    return next((path / name for name in GRAPH_FILES if (path / name).is_file()), None)


def is_saved_model(path: Path) -> bool:
    """Whether a directory is a SavedModel."""
    return graph_file(path) is not None


def saved_models_below(base: Path) -> dict[int, Path]:
    """The SavedModels in a base path of TF Serving, by their version, ascending."""
    directories = (each for each in base.iterdir() if each.name.isascii() and each.name.isdecimal())
    return dict(sorted((int(each.name), each) for each in directories if is_saved_model(each)))


def _kind_of_directory(path: Path) -> Kind:
    if is_export(path):
        return "export"
    if is_saved_model(path):
        return "saved_model"
    if versions := saved_models_below(path):
        newest = list(versions.values())[-1]
        raise ArgumentError(f"{path} is a base path of SavedModel versions; name one, such as {newest}")
    raise ModelError(f"{path} is neither an export (no {FILE_NAME}) nor a SavedModel (no {GRAPH_FILES[0]})")


def _has_identifier(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == _TFLITE_IDENTIFIER
