"""What calls return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnexport.core.errors import CodecError, ServingError, first_line
from attnexport.core.signature import Method, Shape, Signature, TensorSpec
from attnexport.serving.codec.dtypes import name_of

_METHODS: dict[str, Method] = {
    "tensorflow/serving/classify": "classify",
    "tensorflow/serving/regress": "regress",
}


class Prediction(dict[str, np.ndarray[Any, Any]]):
    """Read-only arrays by output name.

    Attributes:
        model: The model that answered.
        versions: Its version; several where one was swapped for another between the parts of a large batch.
    """

    def __init__(self, outputs: Mapping[str, np.ndarray[Any, Any]], model: str, versions: tuple[int, ...]) -> None:
        super().__init__(outputs)
        self.model, self.versions = model, versions

    @property
    def version(self) -> int | None:
        """The version that answered, the newest where there are several; None where the server does not say."""
        return max(self.versions, default=None)


@dataclass(frozen=True)
class ClassScore:
    """A class and its score."""

    label: str
    score: float


@dataclass(frozen=True)
class ModelMetadata:
    """A served model: its version, and its signatures by name."""

    model: str
    version: int | None
    signatures: Mapping[str, Signature]


@dataclass(frozen=True)
class VersionStatus:
    """The state of a version: START, LOADING, AVAILABLE, UNLOADING or END; with its error where it failed."""

    version: int
    state: str
    error_code: int = 0
    error: str = ""


def parse(kind: Any, data: bytes, address: str) -> Any:
    """A reply as its message, or a ServingError."""
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise unusable(error, address) from error


def unusable(error: Exception, address: str) -> ServingError:
    """A reply that no server of this kind gives."""
    return ServingError(f"{address}: the reply is not usable: {first_line(error)}", address=address)


def read_metadata(reply: Any, address: str) -> ModelMetadata:
    """From a GetModelMetadataResponse."""
    from google.protobuf.message import DecodeError

    from attnexport.serving.messages import SignatureDefMap

    definitions = SignatureDefMap()
    try:
        found = reply.metadata["signature_def"].Unpack(definitions) if "signature_def" in reply.metadata else False
    except DecodeError as error:
        raise unusable(error, address) from error
    if not found:
        raise unusable(CodecError("it holds no signature_def"), address)
    signatures = {
        name: signature
        for name, definition in sorted(definitions.signature_def.items())
        if (signature := _signature(name, definition))
    }
    spec = reply.model_spec
    return ModelMetadata(spec.name, int(spec.version.value) if spec.HasField("version") else None, signatures)


def _signature(name: str, definition: Any) -> Signature | None:
    """None where it does not take and give dense tensors that numpy has: an initializer, or sparse inputs."""
    inputs, outputs = (_specs(infos) for infos in (definition.inputs, definition.outputs))
    if not inputs or not outputs:
        return None
    return Signature(name, inputs, outputs, _METHODS.get(definition.method_name, "predict"))


def _specs(infos: Any) -> tuple[TensorSpec, ...] | None:
    specs = []
    for name in sorted(infos):
        info = infos[name]
        dtype = name_of(info.dtype)
        if dtype is None or info.WhichOneof("encoding") != "name":
            return None
        specs.append(TensorSpec(name, dtype, _shape(info.tensor_shape)))
    return tuple(specs)


def _shape(shape: Any) -> Shape | None:
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)


def read_status(reply: Any) -> list[VersionStatus]:
    """From a GetModelStatusResponse, the newest version first."""
    from attnexport.serving.messages import GetModelStatusResponse

    states = GetModelStatusResponse.DESCRIPTOR.fields_by_name["model_version_status"].message_type
    names = states.enum_types_by_name["State"].values_by_number
    found = [
        VersionStatus(
            int(each.version),
            names[each.state].name if each.state in names else str(each.state),
            int(each.status.error_code),
            each.status.error_message,
        )
        for each in reply.model_version_status
    ]
    return sorted(found, key=lambda each: -each.version)


def read_classes(result: Any) -> list[list[ClassScore]]:
    """From a ClassificationResult: the classes of each example."""
    return [[ClassScore(each.label, each.score) for each in one.classes] for one in result.classifications]


def read_values(result: Any) -> np.ndarray[Any, Any]:
    """From a RegressionResult: `[n]` float32."""
    return np.array([one.value for one in result.regressions], np.float32)
