"""Models that Keras feeds rows of several lengths, exported for rows of one length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from attnexport.core.errors import ModelError
from attnexport.core.signature import Arrays
from attnexport.parity import distance

from .model_inputs import ModelInputs
from .reloading import SAME_DB
from .tensorflow_errors import reason


def _ragged_inputs(inputs: ModelInputs) -> list[str]:
    """The exported names of the inputs that Keras takes as rows of several lengths."""
    leaves = getattr(inputs.model, "inputs", None) or ()
    if len(leaves) != len(inputs.specs):  # declared ones of a model that does not know its inputs
        return []
    return [spec.name for spec, leaf in zip(inputs.specs, leaves, strict=True) if leaf.ragged]


def ragged_notes(inputs: ModelInputs) -> list[str]:
    """What whoever sends rows to the model's signatures should know."""
    if not (names := _ragged_inputs(inputs)):
        return []
    return [
        f"Keras takes {', '.join(map(repr, names))} ragged; the exported signatures take rows of one length: send rows "
        "of other lengths in calls of their own, as padding would be read as values"
    ]


def check_ragged(inputs: ModelInputs, samples: Callable[[], Arrays]) -> None:
    """Refuse a model that computes something else from a ragged tensor than from its rows, all of one length.

    Many of Keras's layers take no ragged tensor at all; what then runs are the rows.

    Args:
        inputs: The model.
        samples: Gives samples of its inputs, by exported name.

    Raises:
        ModelError: naming the inputs.
    """
    if not (names := _ragged_inputs(inputs)):
        return
    dense = {name: tf.convert_to_tensor(array) for name, array in samples().items()}
    try:
        ragged = {name: tf.RaggedTensor.from_tensor(each) if name in names else each for name, each in dense.items()}
        expected = keras.tree.flatten(inputs.call(ragged))
    except Exception:  # a user's layers, and Keras's own, may raise anything on ragged tensors
        return
    try:
        outputs = keras.tree.flatten(inputs.call(dense))
    except Exception as error:  # likewise on others
        raise ModelError(
            f"model {inputs.model.name!r} cannot be called on rows of one length, which a signature takes, in place of "
            f"the ragged {', '.join(map(repr, names))}: {reason(error)}"
        ) from error
    if len(expected) != len(outputs) or not all(map(_is_same, expected, outputs)):
        raise ModelError(
            f"model {inputs.model.name!r} computes something else from rows of one length than from the ragged "
            f"{', '.join(map(repr, names))} that Keras gives it, and a signature takes rows of one length; build it "
            "with keras.Input of a fixed length, and mask the padding"
        )


def _is_same(one: Any, other: Any) -> bool:
    """Whether two outputs are the same, apart from rounding."""
    first, second = np.asarray(one.to_tensor() if isinstance(one, tf.RaggedTensor) else one), np.asarray(other)
    if first.shape != second.shape:
        return False
    if first.dtype.kind != "f":
        return np.array_equal(first, second)
    return bool(distance(first.astype(np.float32), second.astype(np.float32)).sqnr_db >= SAME_DB)
