"""What calls return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnexport.core.errors import CodecError, ServingError, first_line
from attnexport.core.signature import Signature
from attnexport.core.signature_def import read_signature


class Prediction(dict[str, np.ndarray[Any, Any]]):
    """Read-only arrays by output name.

    Attributes:
        model: The model that answered.
        versions: The version that answered; several if the server changed versions between the parts of a large batch.
    """

    def __init__(self, outputs: Mapping[str, np.ndarray[Any, Any]], model: str, versions: tuple[int, ...]) -> None:
        super().__init__(outputs)
        self.model, self.versions = model, versions

    @property
    def version(self) -> int | None:
        """The version that answered, the newest of several; None if the server does not say."""
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
    """The state of a version: START, LOADING, AVAILABLE, UNLOADING or END; with its error if it failed."""

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
    """The error for a reply that is damaged, or not of a TF Serving."""
    return ServingError(f"{address}: the reply is not usable: {first_line(error)}", address=address)


def read_metadata(reply: Any, address: str) -> ModelMetadata:
    """From a GetModelMetadataResponse."""
    from google.protobuf.message import DecodeError

    from attnexport.serving.messages import SignatureDefMap

    definitions = SignatureDefMap()
    try:
        unpacked = "signature_def" in reply.metadata and reply.metadata["signature_def"].Unpack(definitions)
    except DecodeError as error:
        raise unusable(error, address) from error
    if not unpacked:
        raise unusable(CodecError("it holds no signature_def"), address)
    signatures = {
        name: signature
        for name, definition in sorted(definitions.signature_def.items())
        if (signature := read_signature(name, definition))
    }
    spec = reply.model_spec
    return ModelMetadata(spec.name, int(spec.version.value) if spec.HasField("version") else None, signatures)


def read_status(reply: Any) -> list[VersionStatus]:
    """From a GetModelStatusResponse, the newest version first."""
    from attnexport.serving.messages import GetModelStatusResponse

    states = GetModelStatusResponse.DESCRIPTOR.fields_by_name["model_version_status"].message_type
    names = states.enum_types_by_name["State"].values_by_number
    versions = [
        VersionStatus(
            int(each.version),
            names[each.state].name if each.state in names else str(each.state),
            int(each.status.error_code),
            each.status.error_message,
        )
        for each in reply.model_version_status
    ]
    return sorted(versions, key=lambda each: -each.version)


def read_classes(result: Any) -> list[list[ClassScore]]:
    """From a ClassificationResult: the classes of each example."""
    return [[ClassScore(each.label, each.score) for each in one.classes] for one in result.classifications]


def read_values(result: Any) -> np.ndarray[Any, Any]:
    """From a RegressionResult: `[n]` float32."""
    return np.array([one.value for one in result.regressions], np.float32)
