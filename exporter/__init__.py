"""Keras to SavedModel: layers, models, named signatures, warm-up records and the gate.

Names load on first use, so that naming the package costs nothing and running a SavedModel loads no layers.
"""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .export import ExportResult, export_saved_model
    from .layers import AttentionConcatLayer, MultiHeadAttentionConcat
    from .models import PresetConfig, build_model, load_model
    from .runners import KerasRunner, SavedModelRunner
    from .served_model import CallError, ServedSavedModel

_HOMES = {
    "AttentionConcatLayer": "layers",
    "CallError": "served_model",
    "Endpoint": "endpoint",
    "ExportResult": "export",
    "KerasRunner": "runners",
    "MultiHeadAttentionConcat": "layers",
    "PresetConfig": "models",
    "SavedModelRunner": "runners",
    "ServedSavedModel": "served_model",
    "build_model": "models",
    "export_saved_model": "export",
    "load_model": "models",
}

__all__ = [
    "AttentionConcatLayer",
    "CallError",
    "Endpoint",
    "ExportResult",
    "KerasRunner",
    "MultiHeadAttentionConcat",
    "PresetConfig",
    "SavedModelRunner",
    "ServedSavedModel",
    "build_model",
    "export_saved_model",
    "load_model",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
