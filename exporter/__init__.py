"""Keras to SavedModel: layers, models, named signatures, warm-up records and the gate.

Names load on first use, so that naming the package costs nothing and running a SavedModel loads no layers. Keras knows
our layers as soon as both are imported, in whichever order.
"""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

from .backend import use_tensorflow
from .registration import register_with_keras

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .export import ExportedVersion, export_version
    from .keras_source import check_exportable
    from .layers import AttentionConcatLayer, MultiHeadAttentionConcat
    from .model_source import ModelSource
    from .models import ModelOrigin, PresetConfig, build_model, load_model, open_source, open_version
    from .opening import open_model
    from .runners import EagerSavedModelRunner, KerasRunner, SavedModelRunner
    from .served_model import ServedSavedModel, SessionError

_HOMES = {
    "AttentionConcatLayer": "layers",
    "EagerSavedModelRunner": "runners",
    "Endpoint": "endpoint",
    "ExportedVersion": "export",
    "KerasRunner": "runners",
    "ModelOrigin": "models",
    "ModelSource": "model_source",
    "MultiHeadAttentionConcat": "layers",
    "PresetConfig": "models",
    "SavedModelRunner": "runners",
    "ServedSavedModel": "served_model",
    "SessionError": "served_model",
    "build_model": "models",
    "check_exportable": "keras_source",
    "export_version": "export",
    "load_model": "models",
    "open_model": "opening",
    "open_source": "models",
    "open_version": "models",
}

__all__ = [
    "AttentionConcatLayer",
    "EagerSavedModelRunner",
    "Endpoint",
    "ExportedVersion",
    "KerasRunner",
    "ModelOrigin",
    "ModelSource",
    "MultiHeadAttentionConcat",
    "PresetConfig",
    "SavedModelRunner",
    "ServedSavedModel",
    "SessionError",
    "build_model",
    "check_exportable",
    "export_version",
    "load_model",
    "open_model",
    "open_source",
    "open_version",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

use_tensorflow()
register_with_keras()
