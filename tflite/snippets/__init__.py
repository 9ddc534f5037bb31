"""Code that loads and runs a .tflite, in five languages: written for this very file, with all its constants."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .writer import LANGUAGES, write_snippet

_HOMES = {"LANGUAGES": "writer", "write_snippet": "writer"}

__all__ = ["LANGUAGES", "write_snippet"]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
