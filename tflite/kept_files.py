"""The file of a conversion while it passes its gate, and what is kept of one that failed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnexport.core.errors import AttnexportError
from attnexport.core.os_errors import writing
from attnexport.store.files import replacing

from .recipes import Recipe


def kept_path(recipe: Recipe, directory: Path) -> Path:
    """Where the file of a recipe that failed its gate is kept."""
    return directory / f"{recipe.name}.failed.tflite"


def keep(content: bytes, recipe: Recipe, directory: Path) -> Path:
    """Keep a file that failed its gate, for inspection; returns its path.

    Raises:
        StorageError: if it cannot be written.
    """
    path = kept_path(recipe, directory)
    with writing(path):
        directory.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return path


@contextmanager
def gated_file(content: bytes, recipe: Recipe, keep_failed: Path | None) -> Iterator[Path]:
    """The content as a file for the gate; if it fails there, it is kept as `keep_failed` says."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"{recipe.name}.tflite"
        file.write_bytes(content)
        try:
            yield file
        except AttnexportError as error:
            if keep_failed is None:
                raise
            kept = keep(content, recipe, keep_failed)
            raise type(error)(f"{error} (kept for inspection as {kept})") from error
