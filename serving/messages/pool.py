"""The messages, in a pool of their own: TensorFlow may be imported before, after or never.

A message of this pool and one of TensorFlow's, of the same full name, are different classes: bridge them by bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet

_APIS = "tensorflow.serving"


def _load() -> Any:
    loaded = descriptor_pool.DescriptorPool()
    data = Path(__file__).with_name("tfserving.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(data).file:
        loaded.Add(file)
    return loaded


POOL: Any = _load()


def message(full_name: str) -> Any:
    """The class of a message, such as `tensorflow.serving.ModelSpec`.

    Raises:
        KeyError: where there is no such message.
    """
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(full_name))


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
