"""Endpoints at several lengths, which one .tflite holds over shared weights."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays

from .endpoint import Endpoint

_NAME = re.compile(r"(?:(.+)_)?steps_([1-9]\d{0,8})")


def at_length(endpoint: Endpoint, steps: int, free: Collection[str]) -> Endpoint:
    """An endpoint at a shorter length, fed with the beginning of the longer samples.

    Args:
        endpoint: The endpoint.
        steps: The length.
        free: The inputs whose length the model leaves free.
    """
    name = f"steps_{steps}" if endpoint.name == DEFAULT_SIGNATURE else f"{endpoint.name}_steps_{steps}"

    def feed(arrays: Arrays) -> Arrays:
        own = endpoint.feed(arrays) if endpoint.feed else arrays
        return {key: array[:, :steps] if key in free else array for key, array in own.items()}

    inputs = tuple(
        replace(spec, shape=(spec.shape[0], steps, *spec.shape[2:])) if spec.name in free and spec.shape else spec
        for spec in endpoint.inputs
    )
    return replace(endpoint, name=name, inputs=inputs, feed=feed)


def length_of(name: str) -> tuple[str, int] | None:
    """The signature that a name of `at_length` is of, and its length; None for other names.

    Example:
        >>> length_of("steps_16"), length_of("attention_steps_16"), length_of("attention")
        (('serving_default', 16), ('attention', 16), None)
    """
    found = _NAME.fullmatch(name)
    return (found[1] or DEFAULT_SIGNATURE, int(found[2])) if found else None
