"""Signatures for a .tflite that has none of its own, as TensorFlow Serving makes them up.

Old converters wrote SignatureDefs into the file's metadata. A file without any is served as one signature,
`serving_default`, whose inputs and outputs are named after its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnexport.core.errors import ModelError
from attnexport.core.signature import DEFAULT_SIGNATURE

from .graph import parse_model

_METADATA = b"signature_defs_metadata"

Details = dict[str, tuple[dict[str, Any], dict[str, Any]]]


def tensor_signatures(interpreter: Any, content: bytes) -> Details:
    """The details of inputs and outputs by name, by signature.

    Args:
        interpreter: A LiteRT interpreter of the file.
        content: The file.

    Raises:
        ModelError: if a SignatureDef in the metadata names a tensor that is not in the file.
    """
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    definitions = _definitions(content)
    if not definitions:
        return {DEFAULT_SIGNATURE: ({_plain(each): each for each in inputs}, {_plain(each): each for each in outputs})}
    return {
        name: (_matched(definition.inputs, inputs, name), _matched(definition.outputs, outputs, name))
        for name, definition in definitions.items()
    }


def _definitions(content: bytes) -> Mapping[str, Any]:
    """The SignatureDefs in the file's metadata: serialized messages in a flexbuffer."""
    model = parse_model(content)
    for metadata in model.metadata or ():
        if metadata.name == _METADATA:
            from flatbuffers import flexbuffers
            from tensorflow.core.protobuf import meta_graph_pb2

            entries = flexbuffers.GetRoot(bytearray(bytes(model.buffers[metadata.buffer].data))).AsMap
            return {
                key.AsKey: meta_graph_pb2.SignatureDef.FromString(
                    bytes(value.AsBlob if value.IsBlob else value.AsStringBytes)
                )
                for key, value in zip(entries.Keys, entries.Values, strict=True)
            }
    return {}


def _matched(infos: Mapping[str, Any], details: list[dict[str, Any]], signature: str) -> dict[str, Any]:
    by_name = {each["name"]: each for each in details}
    matched = {}
    for alias in sorted(infos):
        name = infos[alias].name
        detail = by_name.get(name) or by_name.get(name.partition(":")[0])
        if detail is None:
            raise ModelError(f"signature {signature!r} references an unknown tensor: {alias} is {name!r}")
        matched[alias] = detail
    return matched


def _plain(detail: Mapping[str, Any]) -> str:
    """A tensor's name without its output number."""
    return str(detail["name"]).partition(":")[0]
