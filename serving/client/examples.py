"""Examples for Classify, Regress and MultiInference, which take tf.Example messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnexport.core.errors import ArgumentError, first_line
from attnexport.core.tf_example import write_example

Features = Mapping[str, Any]
# Each a dict of features, or a serialized tf.Example.
Examples = Sequence[Features | bytes]


def fill_input(message: Any, examples: Examples, context: Features | None) -> None:
    """Fill in a tensorflow.serving.Input.

    Args:
        message: The Input, empty.
        examples: Each a dict from feature to one value or a list: numbers, bytes or str; or a serialized Example.
        context: Features that all examples share.

    Raises:
        ArgumentError: naming the example and the feature that cannot be sent.
    """
    if isinstance(examples, Mapping | bytes | str) or not len(examples):
        raise ArgumentError("examples are a list of dicts from feature to values, at least one")
    target = message.example_list_with_context if context is not None else message.example_list
    if context is not None:
        _fill_example(target.context, context, "context")
    for index, example in enumerate(examples):
        _fill_example(target.examples.add(), example, f"example {index}")


def _fill_example(message: Any, example: Features | bytes, place: str) -> None:
    from google.protobuf.message import DecodeError

    if isinstance(example, bytes):
        try:
            message.MergeFromString(example)
        except DecodeError as error:
            raise ArgumentError(f"{place} is not a serialized tf.Example: {first_line(error)}") from error
        return
    if not isinstance(example, Mapping):
        raise ArgumentError(f"{place} is a {type(example).__name__}; give a dict from feature to values")
    write_example(example, message, place)
