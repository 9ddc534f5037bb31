"""Endpoints at several lengths, which one .tflite holds over shared weights."""

from __future__ import annotations

from dataclasses import replace

from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays

from .endpoint import Endpoint


def at_length(endpoint: Endpoint, steps: int) -> Endpoint:
    """An endpoint at a shorter length, fed with the beginning of the longer samples."""
    own = {spec.name: (spec.shape or ())[1:2] for spec in endpoint.inputs}
    longest = max((sizes[0] for sizes in own.values() if sizes and sizes[0]), default=steps)
    shorter = [name for name, sizes in own.items() if sizes == (longest,)]
    name = f"steps_{steps}" if endpoint.name == DEFAULT_SIGNATURE else f"{endpoint.name}_steps_{steps}"

    def feed(arrays: Arrays) -> Arrays:
        return {key: array[:, :steps] if key in shorter else array for key, array in arrays.items()}

    inputs = tuple(
        replace(spec, shape=(spec.shape[0], steps, *spec.shape[2:])) if spec.name in shorter and spec.shape else spec
        for spec in endpoint.inputs
    )
    return replace(endpoint, name=name, inputs=inputs, feed=feed)
