"""The models to export: presets, and the user's own."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from attnexport.core.user_modules import import_modules

    from .presets import DEFAULT_PRESET, Pooling, Preset, PresetConfig, build_model
    from .sources import ModelOrigin, load_model, open_source, open_version

_HOMES = {
    "DEFAULT_PRESET": "presets",
    "ModelOrigin": "sources",
    "Pooling": "presets",
    "Preset": "presets",
    "PresetConfig": "presets",
    "build_model": "presets",
    "import_modules": "sources",
    "load_model": "sources",
    "open_source": "sources",
    "open_version": "sources",
}

__all__ = [
    "DEFAULT_PRESET",
    "ModelOrigin",
    "Pooling",
    "Preset",
    "PresetConfig",
    "build_model",
    "import_modules",
    "load_model",
    "open_source",
    "open_version",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
