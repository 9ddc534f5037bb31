"""Features written into tf.Example messages, of whatever protobuf pool the caller has. The one place that does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import ArgumentError
from .signature import Array


def write_example(features: Mapping[str, Any], message: Any, place: str = "the example") -> None:
    """Fill in a tf.Example message.

    Args:
        features: By name one value, a list or an array of any shape, which is flattened: integers and booleans become
            int64, floats float32, text (as UTF-8) and bytes stay bytes.
        message: The Example, empty.
        place: How messages name the example.

    Raises:
        ArgumentError: naming the feature that cannot be sent.
    """
    for name, value in features.items():
        _write_feature(_flat(value), message.features.feature[name], f"{place}, feature {name!r}")


def _flat(value: Any) -> Array:
    """The values `[n]`. Python's text and bytes stay objects: numpy's own drop zero bytes at the end."""
    if not isinstance(value, np.ndarray):
        objects = np.asarray(value, dtype=object).reshape(-1)
        if objects.size and all(isinstance(each, bytes | str) for each in objects):
            return objects
    return np.asarray(value).reshape(-1)


def _write_feature(values: Array, feature: Any, place: str) -> None:
    if values.dtype.kind in "iub":
        if values.size and int(values.max()) > 2**63 - 1:
            raise ArgumentError(f"{place}: {values.max()} is more than an int64 holds")
        feature.int64_list.value.extend(values.astype(np.int64).tolist())
    elif values.dtype.kind == "f" or values.dtype.name == "bfloat16":
        feature.float_list.value.extend(values.astype(np.float32).tolist())
    elif values.dtype.kind in "OSU" and all(isinstance(each, bytes | str) for each in values.tolist()):
        feature.bytes_list.value.extend(each.encode() if isinstance(each, str) else each for each in values.tolist())
    else:
        raise ArgumentError(f"{place} holds {values.dtype.name}; give numbers, bytes or str")
