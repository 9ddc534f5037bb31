"""Reading the graph of a SavedModel, of unknown origin: bounded before it is parsed."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from attnexport.core.errors import ContentError, ModelError
from attnexport.core.reading import check_filled, is_regular, read_bytes

MAX_BYTES = (1 << 31) - 1  # of saved_model.pb: the most that protobuf reads
MAX_TEXT_BYTES = 64 << 20  # of saved_model.pbtxt, which is slow to read
MAX_STRUCTURE = 128 << 20  # bytes beside the values of constants; in memory they take up to twenty times that
MAX_NODES = 2_000_000  # of the graph and all its functions

_LARGE = 4096  # bytes; parts below are counted as structure, whatever they hold
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MAX_VARINT = 10  # bytes

# Where the values of constants are, by field number from SavedModel down: a part of its own, or None for values.
_TENSOR: Mapping[int, Any] = {4: None, 18: None}  # tensor_content, float8_val
_NODE: Mapping[int, Any] = {5: {2: {8: _TENSOR}}}  # attr, value, tensor
_LIBRARY: Mapping[int, Any] = {1: {3: _NODE}}  # function, node_def
_SAVED_MODEL: Mapping[int, Any] = {2: {2: {1: _NODE, 2: _LIBRARY}}}  # meta_graphs, graph_def, node and library


def read_saved_model(path: Path) -> Any:
    """The SavedModel message of a directory; None if there is none or it cannot be parsed, which loading explains.

    Args:
        path: The directory.

    Raises:
        ModelError: if the file is not a regular one, larger than what a graph needs, or nested too deeply.
    """
    file = path / "saved_model.pb"
    try:
        if file.exists():  # as TensorFlow chooses
            return _read_binary(file)
        file = path / "saved_model.pbtxt"
        if not file.exists():
            return None
        return text_format.Parse(read_bytes(file, MAX_TEXT_BYTES).decode(), saved_model_pb2.SavedModel())
    except (DecodeError, text_format.ParseError, UnicodeDecodeError, OSError):
        return None
    except RecursionError as error:  # which TensorFlow, with less on its stack, may read
        raise ModelError(f"{file} is nested too deeply") from error
    except ContentError as error:
        raise ModelError(str(error)) from error


def parse_saved_model(content: bytes) -> Any:
    """A SavedModel message from its bytes.

    Raises:
        ContentError: if it has more nodes or more structure than a graph needs.
        DecodeError: if it is not one.
    """
    _check_structure(content)
    return saved_model_pb2.SavedModel.FromString(content)


def _read_binary(file: Path) -> Any:
    if not is_regular(file):
        raise ContentError(f"{file} is not a regular file")
    check_filled(file)
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise ContentError(f"{file} is larger than the {MAX_BYTES:,} bytes that a graph may have")
    if size > MAX_STRUCTURE:  # looked through before it is in memory
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            _check_structure(mapped)
    try:
        return parse_saved_model(read_bytes(file, MAX_BYTES))
    except ContentError as error:
        raise ContentError(f"{file} {error}") from error


def _check_structure(content: Any) -> None:
    """Refuse a message that takes far more memory than its file: of nothing but tiny parts, each an object."""
    values = 0
    stack: list[tuple[int, int, Mapping[int, Any]]] = [(0, len(content), _SAVED_MODEL)]
    nodes = 0
    while stack:
        start, end, parts = stack.pop()
        for number, first, last in _fields(content, start, end):
            nodes += 1
            if nodes > MAX_NODES:
                raise ContentError(f"has more than {MAX_NODES:,} nodes")
            if last - first < _LARGE or number not in parts:
                continue
            if parts[number] is None:
                values += last - first
            else:
                stack.append((first, last, parts[number]))
    if len(content) - values > MAX_STRUCTURE:
        raise ContentError(f"has more than {MAX_STRUCTURE:,} bytes beside the values of its constants")


def _fields(content: Any, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of bytes; ends early where the message is damaged."""
    while at < end:
        tag, at = _varint(content, at, end)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(content, at, end)
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
        elif kind == _BYTES:
            length, at = _varint(content, at, end)
            if at + length > end:
                return
            yield tag >> 3, at, at + length
            at += length
        else:  # a group, or damage
            return


def _varint(content: Any, at: int, end: int) -> tuple[int, int]:
    """A number and where it ends; at the end of the message where it has none."""
    value = shift = 0
    while at < end and shift < 7 * _MAX_VARINT:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return 0, end
