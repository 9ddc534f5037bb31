"""Keras to SavedModel: layers, models, named signatures, warm-up records and the gate.

Names load on first use, so that naming the package costs nothing and running a SavedModel loads no layers.
"""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .export import ExportResult, export_saved_model
    from .layers import AttentionConcatLayer, MultiHeadAttentionConcat
    from .models import LoadedModel, PresetConfig, build_model, load_model, open_source, open_version
    from .originals import Original, find_version, is_of, open_original
    from .runners import EagerSavedModelRunner, KerasRunner, SavedModelRunner
    from .served_model import ServedSavedModel, SessionError

_HOMES = {
    "AttentionConcatLayer": "layers",
    "EagerSavedModelRunner": "runners",
    "Endpoint": "endpoint",
    "ExportResult": "export",
    "KerasRunner": "runners",
    "LoadedModel": "models",
    "MultiHeadAttentionConcat": "layers",
    "Original": "originals",
    "PresetConfig": "models",
    "SavedModelRunner": "runners",
    "ServedSavedModel": "served_model",
    "SessionError": "served_model",
    "build_model": "models",
    "export_saved_model": "export",
    "find_version": "originals",
    "is_of": "originals",
    "load_model": "models",
    "open_original": "originals",
    "open_source": "models",
    "open_version": "models",
}

__all__ = [
    "AttentionConcatLayer",
    "EagerSavedModelRunner",
    "Endpoint",
    "ExportResult",
    "KerasRunner",
    "LoadedModel",
    "MultiHeadAttentionConcat",
    "Original",
    "PresetConfig",
    "SavedModelRunner",
    "ServedSavedModel",
    "SessionError",
    "build_model",
    "export_saved_model",
    "find_version",
    "is_of",
    "load_model",
    "open_original",
    "open_source",
    "open_version",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
