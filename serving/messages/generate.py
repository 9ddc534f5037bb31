"""Generate the descriptor set from the installed tensorflow-serving-api.

    python -m attnexport.serving.messages.generate

Importing that package loads all of TensorFlow, which is why its definitions are shipped as data instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

DATA = Path(__file__).with_name("tfserving.binpb")

# The set holds the files of these modules, and all that they import.
_MODULES = (
    "tensorflow_serving.apis.model_service_pb2",
    "tensorflow_serving.apis.prediction_log_pb2",
    "tensorflow_serving.apis.prediction_service_pb2",
    "tensorflow_serving.config.model_server_config_pb2",
    "tensorflow_serving.config.platform_config_pb2",
)


def generate() -> bytes:
    """The serialized FileDescriptorSet: each file after those it imports, the same bytes every time.

    Raises:
        ModuleNotFoundError: if tensorflow-serving-api is not installed.
    """
    files: dict[str, bytes] = {}
    _collect((import_module(name).DESCRIPTOR for name in _MODULES), files)
    described = FileDescriptorSet(file=[FileDescriptorProto.FromString(each) for each in files.values()])
    data: bytes = described.SerializeToString(deterministic=True)
    return data


def _collect(descriptors: Iterable[Any], files: dict[str, bytes]) -> None:
    for descriptor in descriptors:
        if descriptor.name not in files:
            _collect(descriptor.dependencies, files)
            files[descriptor.name] = descriptor.serialized_pb


if __name__ == "__main__":
    DATA.write_bytes(generate())
