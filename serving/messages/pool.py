"""The messages, in a pool of their own: TensorFlow may be imported before, after or never.

A message of this pool and one of TensorFlow's, of the same full name, are different classes: bridge them by bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass

_APIS = "tensorflow.serving"


class PrivatePool:
    """A descriptor pool apart from protobuf's default one. Every private pool of this package is one of these.

    It holds a reference to every descriptor and every message class, nested and map entries included. protobuf itself
    keeps them in a weak cache: a class that nobody holds is made when a field is accessed and collected right after,
    and the process crashes (SIGSEGV) if the garbage collector frees it while another thread takes it from the cache.

    Args:
        files: The files that define the messages, each after the files it imports.

    Attributes:
        descriptors: The descriptor pool, for `json_format` and `text_format`.
        classes: Every message class by its full name.

    Example:
        >>> from google.protobuf import wrappers_pb2
        >>> from google.protobuf.descriptor_pb2 import FileDescriptorProto
        >>> pool = PrivatePool([FileDescriptorProto.FromString(wrappers_pb2.DESCRIPTOR.serialized_pb)])
        >>> pool.classes["google.protobuf.Int64Value"](value=7).value
        7
    """

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self.descriptors: Any = descriptor_pool.DescriptorPool()
        self._files = []
        for file in files:
            self.descriptors.Add(file)
            self._files.append(self.descriptors.FindFileByName(file.name))
        self._messages = [each for file in self._files for each in _with_nested(file.message_types_by_name.values())]
        self._fields = [field for each in self._messages for field in each.fields]
        self.classes: dict[str, Any] = {each.full_name: GetMessageClass(each) for each in self._messages}


def _with_nested(messages: Iterable[Any]) -> Iterator[Any]:
    for message in messages:
        yield message
        yield from _with_nested(message.nested_types)


def _load() -> PrivatePool:
    data = Path(__file__).with_name("tfserving.binpb").read_bytes()
    return PrivatePool(FileDescriptorSet.FromString(data).file)


_TFSERVING = _load()
POOL: Any = _TFSERVING.descriptors


def message(full_name: str) -> Any:
    """The class of a message, such as `tensorflow.serving.ModelSpec`.

    Raises:
        KeyError: if there is no such message.

    Example:
        >>> message("tensorflow.serving.ModelSpec")(name="classifier").name
        'classifier'
    """
    return _TFSERVING.classes[full_name]


ClassificationRequest = message(f"{_APIS}.ClassificationRequest")
ClassificationResponse = message(f"{_APIS}.ClassificationResponse")
Example = message("tensorflow.Example")
ExampleListWithContext = message(f"{_APIS}.ExampleListWithContext")
GetModelMetadataRequest = message(f"{_APIS}.GetModelMetadataRequest")
GetModelMetadataResponse = message(f"{_APIS}.GetModelMetadataResponse")
GetModelStatusRequest = message(f"{_APIS}.GetModelStatusRequest")
GetModelStatusResponse = message(f"{_APIS}.GetModelStatusResponse")
InferenceTask = message(f"{_APIS}.InferenceTask")
ModelServerConfig = message(f"{_APIS}.ModelServerConfig")
ModelSpec = message(f"{_APIS}.ModelSpec")
MultiInferenceRequest = message(f"{_APIS}.MultiInferenceRequest")
MultiInferenceResponse = message(f"{_APIS}.MultiInferenceResponse")
PredictRequest = message(f"{_APIS}.PredictRequest")
PredictResponse = message(f"{_APIS}.PredictResponse")
PredictionLog = message(f"{_APIS}.PredictionLog")
RegressionRequest = message(f"{_APIS}.RegressionRequest")
RegressionResponse = message(f"{_APIS}.RegressionResponse")
ReloadConfigRequest = message(f"{_APIS}.ReloadConfigRequest")
ReloadConfigResponse = message(f"{_APIS}.ReloadConfigResponse")
SignatureDefMap = message(f"{_APIS}.SignatureDefMap")
TensorProto = message("tensorflow.TensorProto")
