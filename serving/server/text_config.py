"""Text-format files of TF Serving: the model configuration, and three messages that no package ships.

BatchingParameters, MonitoringConfig and SSLConfig are not in tensorflow-serving-api; their few fields are described
here, in a pool of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, text_format, wrappers_pb2

from attnexport.core.errors import ArgumentError, ContentError, first_line
from attnexport.core.reading import read_bytes
from attnexport.serving.messages import PrivatePool

_INT64, _BOOL, _STRING, _RAW_BOOL, _RAW_STRING, _RAW_INT64 = (
    ".google.protobuf.Int64Value", ".google.protobuf.BoolValue", ".google.protobuf.StringValue", "bool", "string",
    "int64*",
)  # fmt: skip
_FILE = "attnexport/serving_parameters.proto"
_PACKAGE = "tensorflow.serving"
_MAX_BYTES = 16 << 20  # of a file

# Message: its fields with number and type; a star is a repeated field.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "BatchingParameters": {
        "max_batch_size": (1, _INT64),
        "batch_timeout_micros": (2, _INT64),
        "max_enqueued_batches": (3, _INT64),
        "num_batch_threads": (4, _INT64),
        "thread_pool_name": (5, _STRING),
        "allowed_batch_sizes": (6, _RAW_INT64),
        "pad_variable_length_inputs": (7, _RAW_BOOL),
        "enable_large_batch_splitting": (8, _BOOL),
        "max_execution_batch_size": (9, _INT64),
    },
    "PrometheusConfig": {"enable": (1, _RAW_BOOL), "path": (2, _RAW_STRING)},
    "MonitoringConfig": {"prometheus_config": (1, f".{_PACKAGE}.PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, _RAW_STRING),
        "server_cert": (2, _RAW_STRING),
        "custom_ca": (3, _RAW_STRING),
        "client_verify": (4, _RAW_BOOL),
    },
}


def _pool() -> PrivatePool:
    field = descriptor_pb2.FieldDescriptorProto
    scalars = {_RAW_BOOL: field.TYPE_BOOL, _RAW_STRING: field.TYPE_STRING, _RAW_INT64: field.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, members in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for member, (number, kind) in members.items():
            label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            added = described.field.add(name=member, number=number, label=label)
            added.type = scalars.get(kind, field.TYPE_MESSAGE)
            if kind not in scalars:
                added.type_name = kind
    wrappers = descriptor_pb2.FileDescriptorProto.FromString(wrappers_pb2.DESCRIPTOR.serialized_pb)
    return PrivatePool([wrappers, file])


_PARAMETERS = _pool()
POOL: Any = _PARAMETERS.descriptors

BatchingParameters = _PARAMETERS.classes[f"{_PACKAGE}.BatchingParameters"]
MonitoringConfig = _PARAMETERS.classes[f"{_PACKAGE}.MonitoringConfig"]
SSLConfig = _PARAMETERS.classes[f"{_PACKAGE}.SSLConfig"]


def read_text(path: Path, kind: Any, pool: Any = POOL) -> Any:
    """Read a message from a text-format file.

    Raises:
        ArgumentError: if the file does not exist.
        ContentError: if it cannot be read or parsed; with the message's full name, the line and column.
    """
    name = kind.DESCRIPTOR.full_name
    try:
        return text_format.Parse(read_bytes(path, _MAX_BYTES).decode(), kind(), descriptor_pool=pool)
    except FileNotFoundError as error:
        raise ArgumentError(f"{path} does not exist; a text-format {name} is expected") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ContentError(f"{path} cannot be read as a text-format {name}: {first_line(error)}") from error
    except (text_format.ParseError, RecursionError) as error:
        raise ContentError(f"{path}: Error parsing text-format {name}: {first_line(error)}") from error
