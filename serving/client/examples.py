"""Python values to tf.Example, which Classify, Regress and MultiInference take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attnexport.core.errors import ArgumentError, first_line

Features = Mapping[str, Any]
# Each a dict of features, or a serialized tf.Example.
Examples = Sequence[Features | bytes]


def fill_input(message: Any, examples: Examples, context: Features | None) -> None:
    """Put examples into a tensorflow.serving.Input.

    Args:
        message: The Input.
        examples: Each a dict from feature to one value or a list: numbers, bytes or str; or a serialized Example.
        context: Features that all examples share.

    Raises:
        ArgumentError: naming the example and the feature that cannot be sent.
    """
    if isinstance(examples, Mapping | bytes | str) or not len(examples):
        raise ArgumentError("examples are a list of dicts from feature to values, at least one")
    held = message.example_list_with_context if context is not None else message.example_list
    if context is not None:
        _fill_example(held.context, context, "context")
    for index, example in enumerate(examples):
        _fill_example(held.examples.add(), example, f"example {index}")


def _fill_example(message: Any, example: Features | bytes, place: str) -> None:
    from google.protobuf.message import DecodeError

    if isinstance(example, bytes):
        try:
            message.MergeFromString(example)
        except DecodeError as error:
            raise ArgumentError(f"{place} is no serialized tf.Example: {first_line(error)}") from error
        return
    if not isinstance(example, Mapping):
        raise ArgumentError(f"{place} is a {type(example).__name__}; a dict from feature to values is wanted")
    for name, value in example.items():
        _fill_feature(message.features.feature[name], np.asarray(value).reshape(-1), f"{place}, feature {name!r}")


def _fill_feature(feature: Any, values: np.ndarray[Any, Any], place: str) -> None:
    if values.dtype.kind in "iub":
        if values.size and int(values.max()) > 2**63 - 1:
            raise ArgumentError(f"{place}: {values.max()} is more than an int64 holds")
        feature.int64_list.value.extend(values.astype(np.int64).tolist())
    elif values.dtype.kind == "f":
        feature.float_list.value.extend(values.astype(np.float32).tolist())
    elif values.dtype.kind in "OSU" and all(isinstance(each, bytes | str) for each in values.tolist()):
        feature.bytes_list.value.extend(each.encode() if isinstance(each, str) else each for each in values.tolist())
    else:
        raise ArgumentError(f"{place} holds {values.dtype.name}; numbers, bytes or str are wanted")
