"""The float32 constants of a .tflite, read and replaced where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from attnexport.core.signature import Array

from .graph import Graph


def constant(content: bytes, graph: Graph, buffer: int) -> Array:
    """The float32 values of a buffer of the graph, `[n]`."""
    root = _root(content)
    return _bytes_of(content, root, _in_file(root, graph)[buffer][0]).view(np.float32)


def with_constants(content: bytes, graph: Graph, values: Mapping[int, Array]) -> bytes:
    """A .tflite with other values in some of its buffers.

    Args:
        content: The file.
        graph: Its contents.
        values: As many float32 values as there were, by the buffer's number in the graph.

    Returns:
        The file, of the same size.
    """
    if not values:
        return content
    changed = bytearray(content)
    root = _root(changed)
    numbers = _in_file(root, graph)
    for buffer, array in values.items():
        for number in numbers[buffer]:
            _bytes_of(changed, root, number)[:] = np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint8)
    return bytes(changed)


def _root(content: bytes | bytearray) -> Any:
    from ai_edge_litert.tools.flatbuffer_utils import schema_fb

    return schema_fb.Model.GetRootAs(content, 0)


def _in_file(root: Any, graph: Graph) -> dict[int, list[int]]:
    """The numbers of each buffer in the file: LiteRT's reader leaves empty ones out, which the graph is made by."""
    numbers: dict[int, list[int]] = {}
    for place, subgraph in enumerate(graph.subgraphs):
        for at, tensor in enumerate(subgraph.tensors):
            number = int(root.Subgraphs(place).Tensors(at).Buffer())
            if tensor.constant_bytes and number not in numbers.setdefault(tensor.buffer, []):
                numbers[tensor.buffer].append(number)
    return numbers


def _bytes_of(content: bytes | bytearray, root: Any, number: int) -> Array:
    """A view of the bytes of a buffer, which lies behind the flatbuffer if the file is large."""
    entry = root.Buffers(number)
    if entry.Offset() > 1:
        return np.frombuffer(content, np.uint8, entry.Size(), entry.Offset())
    view: Array = entry.DataAsNumpy()
    return view
