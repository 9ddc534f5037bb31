"""The export directory: versions on disk, their manifest, and writes that survive a crash."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .export_directory import ExportDirectory
    from .manifest import Artifact, Manifest, VersionEntry

_HOMES = {
    "Artifact": "manifest",
    "ExportDirectory": "export_directory",
    "Manifest": "manifest",
    "VersionEntry": "manifest",
}

__all__ = [
    "Artifact",
    "ExportDirectory",
    "Manifest",
    "VersionEntry",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
