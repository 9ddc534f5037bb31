"""Writing a SavedModel that TF Serving's own loading path accepts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from attnexport.core.errors import ModelError, StorageError
from attnexport.store.links import check_links
from attnexport.store.trust import is_trusting

from .endpoint import TracedEndpoint
from .graph_shapes import simplify_reshapes
from .quiet import quiet_tensorflow
from .tables import captured_tables
from .tensorflow_errors import reason

_METHOD_NAMES = {
    "classify": tf.compat.v1.saved_model.CLASSIFY_METHOD_NAME,
    "regress": tf.compat.v1.saved_model.REGRESS_METHOD_NAME,
}


def write_saved_model(path: Path, endpoints: Sequence[TracedEndpoint]) -> None:
    """Write endpoints over shared variables as the signatures of a SavedModel.

    Args:
        path: The directory to write.
        endpoints: What to save; `serving_default` must be among them.

    Raises:
        ModelError: if an endpoint uses something that cannot be saved.
        OSError, tf.errors.OpError: if a file cannot be written.
    """
    # Only ExportArchive keeps the variables of a Keras 3 model findable in a session; see docs/field-notes.md.
    archive = keras.export.ExportArchive()
    for each in endpoints:
        archive.add_endpoint(each.endpoint.name, each.function)
    for table in captured_tables(endpoints):
        archive.track(table)
    try:
        with quiet_tensorflow():
            archive.write_out(str(path), verbose=False)
    except (OSError, tf.errors.OpError):
        raise
    except Exception as error:  # TensorFlow asserts that everything a function uses is tracked
        raise ModelError(f"the model cannot be saved: {reason(error)}") from error
    _finish(path / "saved_model.pb", endpoints)


def copy_saved_model(source: Path, path: Path) -> None:
    """Copy a SavedModel as it is.

    Raises:
        ModelError: if a link in it leads out of it, which would copy a file of the user's.
    """
    if not is_trusting():
        try:
            check_links(source, "the SavedModel")
        except StorageError as error:
            raise ModelError(f"{error}. Give --trust to copy what it leads to") from error
    shutil.copytree(source, path)


def _finish(path: Path, endpoints: Sequence[TracedEndpoint]) -> None:
    """Name the methods as TF Serving expects (TF 2 writes each as predict), and drop computed shapes from the graph."""
    message = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    [meta_graph] = message.meta_graphs
    changed = simplify_reshapes(meta_graph.graph_def)
    for each in endpoints:
        if each.endpoint.method in _METHOD_NAMES:
            meta_graph.signature_def[each.endpoint.name].method_name = _METHOD_NAMES[each.endpoint.method]
            changed = True
    if not changed:
        return
    path.write_bytes(message.SerializeToString(deterministic=True))
    # It was made of the file as it stood before; TensorFlow loads without it, and a wrong one would mislead.
    (path.parent / "fingerprint.pb").unlink(missing_ok=True)
