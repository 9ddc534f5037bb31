"""Writing a SavedModel that TF Serving's own loading path accepts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from attnexport.core.errors import ModelError, first_line

from .endpoint import TracedEndpoint
from .models.traits import flat_layers
from .products import plain_products

_METHOD_NAMES = {
    "classify": tf.compat.v1.saved_model.CLASSIFY_METHOD_NAME,
    "regress": tf.compat.v1.saved_model.REGRESS_METHOD_NAME,
}


def write_saved_model(path: Path, model: Any, endpoints: Sequence[TracedEndpoint]) -> None:
    """Write endpoints over shared variables as the signatures of a SavedModel.

    Args:
        path: The directory to write.
        model: The `keras.Model`, for the lookup tables that its layers own.
        endpoints: What to save; `serving_default` must be among them.

    Raises:
        ModelError: where an endpoint uses what cannot be saved.
        OSError, tf.errors.OpError: where the file system refuses.
    """
    # Only ExportArchive keeps the variables of a Keras 3 model findable in a session; see docs/field-notes.md.
    archive = keras.export.ExportArchive()
    for each in endpoints:
        archive.add_endpoint(each.endpoint.name, each.function)
    _track_tables(archive, model)
    try:
        with plain_products():  # it traces once more, for those who load functions rather than signatures
            archive.write_out(str(path), verbose=False)
    except (OSError, tf.errors.OpError):
        raise
    except Exception as error:  # TensorFlow asserts that everything a function uses is tracked
        raise ModelError(f"the model cannot be saved: {first_line(error)}") from error
    _set_methods(path, endpoints)


def copy_saved_model(source: Path, path: Path) -> None:
    """Copy a SavedModel as it is."""
    shutil.copytree(source, path)


def _track_tables(archive: Any, model: Any) -> None:
    # Tracking the model would store each variable a second time; only tables are not found through the endpoints.
    for layer in flat_layers(model):
        for table in vars(layer).values():
            if isinstance(table, tf.saved_model.experimental.TrackableResource):
                archive.track(table)


def _set_methods(path: Path, endpoints: Sequence[TracedEndpoint]) -> None:
    """TF 2 writes every method as predict; name the others as TF Serving wants them."""
    methods = {
        each.endpoint.name: _METHOD_NAMES[each.endpoint.method]
        for each in endpoints
        if each.endpoint.method in _METHOD_NAMES
    }
    if not methods:
        return
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(path))
    for name, method in methods.items():
        updater.replace_method_name(signature_key=name, method_name=method, tags=["serve"])
    updater.save()
    # It was made of the file as it stood before; TensorFlow loads without it, and a wrong one would mislead.
    (path / "fingerprint.pb").unlink(missing_ok=True)
