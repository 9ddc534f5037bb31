"""PredictRequest and PredictResponse on the wire, both ends: tensors are neither parsed twice nor copied twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from attnexport.core.errors import CodecError, first_line
from attnexport.core.signature import Arrays

from .decode import SPLAT_LIMIT, decode_tensor
from .encode import Chunks, Form, check_size, tensor_chunks
from .wire import LENGTH, IrregularError, fields, varint

# Field numbers of tensorflow.serving.PredictRequest and PredictResponse.
_REQUEST_SPEC, _REQUEST_INPUTS, _REQUEST_FILTER = 1, 2, 3
_REPLY_OUTPUTS, _REPLY_SPEC = 1, 2
_KEY, _VALUE = 1, 2  # of a map's entry
_MOST_KNOWN = 256  # bytes of a model_spec that is remembered


@dataclass(frozen=True)
class ServedModel:
    """Which model, version and signature a request is for, or a reply is from.

    `version` and `label` exclude each other; the server takes its newest version where both are None. An empty
    signature is `serving_default`.
    """

    name: str
    version: int | None = None
    label: str | None = None
    signature: str = ""

    def to_message(self) -> Any:
        """As tensorflow.serving.ModelSpec."""
        from attnexport.serving.messages import ModelSpec

        spec = ModelSpec(name=self.name, signature_name=self.signature)
        if self.version is not None:
            spec.version.value = self.version
        if self.label is not None:
            spec.version_label = self.label
        return spec

    @classmethod
    def from_message(cls, spec: Any) -> ServedModel:
        """From a tensorflow.serving.ModelSpec; version 0 is a version, and a missing one is None."""
        choice = spec.WhichOneof("version_choice")
        version = int(spec.version.value) if choice == "version" else None
        label = str(spec.version_label) if choice == "version_label" else None
        return cls(spec.name, version, label, spec.signature_name)


@dataclass(frozen=True)
class PredictCall:
    """What a PredictRequest asks: the model, its inputs by name, and the outputs wanted (all where empty)."""

    model: ServedModel
    inputs: Arrays
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class PredictAnswer:
    """What a PredictResponse says: the model that answered, and its outputs by name."""

    model: ServedModel
    outputs: Arrays


def encode_predict_request(
    model: ServedModel, inputs: Mapping[str, Any], outputs: Sequence[str] = (), form: Form = "content"
) -> bytes:
    """The bytes of a PredictRequest.

    Raises:
        CodecError: naming the input that no tensor can hold; or where the message would exceed 2 GiB.
    """
    chunks = _submessage(_REQUEST_SPEC, model.to_message().SerializeToString())
    chunks += _tensors(_REQUEST_INPUTS, inputs, form)
    for name in outputs:
        chunks += _submessage(_REQUEST_FILTER, _name(name))
    return _joined(chunks)


def encode_predict_reply(model: ServedModel, outputs: Mapping[str, Any], form: Form = "values") -> bytes:
    """The bytes of a PredictResponse, by default in the form that TF Serving answers in.

    Raises:
        CodecError: naming the output that no tensor can hold; or where the message would exceed 2 GiB.
    """
    chunks = _tensors(_REPLY_OUTPUTS, outputs, form)
    return _joined([*chunks, _answered(model)])


@lru_cache(maxsize=256)  # a server answers from few models
def _answered(model: ServedModel) -> bytes:
    return b"".join(_submessage(_REPLY_SPEC, model.to_message().SerializeToString()))


def decode_predict_request(data: bytes, *, splat_limit: int = SPLAT_LIMIT) -> PredictCall:
    """A PredictRequest; its arrays are read-only and share the memory of `data` where they can.

    Raises:
        CodecError: where the bytes are damaged, naming the input.
    """
    spec, inputs, wanted = _read(data, "PredictRequest", _REQUEST_SPEC, _REQUEST_INPUTS, _REQUEST_FILTER, splat_limit)
    return PredictCall(spec, inputs, wanted)


def decode_predict_reply(data: bytes, *, splat_limit: int = SPLAT_LIMIT) -> PredictAnswer:
    """A PredictResponse; its arrays are read-only and share the memory of `data` where they can.

    Raises:
        CodecError: where the bytes are damaged, naming the output.
    """
    spec, outputs, _ = _read(data, "PredictResponse", _REPLY_SPEC, _REPLY_OUTPUTS, None, splat_limit)
    return PredictAnswer(spec, outputs)


def _submessage(field: int, data: bytes) -> Chunks:
    return [varint(field << 3 | LENGTH) + varint(len(data)), data]


def _tensors(field: int, arrays: Mapping[str, Any], form: Form) -> Chunks:
    chunks: Chunks = []
    for name, array in arrays.items():
        try:
            tensor, size = tensor_chunks(array, form)
        except CodecError as error:
            raise CodecError(f"{name!r}: {error}") from error
        key = _name(name)
        head = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(size)
        chunks.append(varint(field << 3 | LENGTH) + varint(len(head) + size) + head)
        chunks += tensor
    return chunks


def _name(name: Any) -> bytes:
    try:
        encoded: bytes = name.encode()
    except (AttributeError, UnicodeEncodeError) as error:
        raise CodecError(f"{name!r} is no name of a tensor; text is wanted") from error
    return encoded


def _joined(chunks: Chunks) -> bytes:
    check_size(sum(chunk.nbytes if hasattr(chunk, "nbytes") else len(chunk) for chunk in chunks))
    return b"".join(chunks)


def _read(
    data: bytes, kind: str, spec_field: int, tensor_field: int, filter_field: int | None, splat_limit: int
) -> tuple[ServedModel, Arrays, tuple[str, ...]]:
    try:
        return _scan(data, spec_field, tensor_field, filter_field, splat_limit)
    except IrregularError:
        usual = _usual_form(data, kind)
        return _scan(usual, spec_field, tensor_field, filter_field, splat_limit)


def _scan(
    data: bytes, spec_field: int, tensor_field: int, filter_field: int | None, splat_limit: int
) -> tuple[ServedModel, Arrays, tuple[str, ...]]:
    spec: ServedModel | None = None
    places: dict[str, tuple[int, int]] = {}
    wanted: list[str] = []
    for field, wire, begin, end in fields(data, 0, len(data)):
        if wire != LENGTH:
            continue
        if field == tensor_field:
            name, at, stop = _entry(data, begin, end)
            places[name] = at, stop
        elif field == spec_field:
            if spec is not None:
                raise IrregularError
            spec = _spec(data[begin:end])
        elif field == filter_field:
            wanted.append(_text(data[begin:end]))
    arrays: Arrays = {}
    for name, (at, stop) in sorted(places.items()):  # a map comes in any order
        try:
            arrays[name] = decode_tensor(data, at, stop, splat_limit=splat_limit)
        except CodecError as error:
            raise CodecError(f"{name!r}: {error}") from error
    return spec or ServedModel(""), arrays, tuple(wanted)


def _entry(data: bytes, at: int, stop: int) -> tuple[str, int, int]:
    name, value = "", None
    for field, wire, begin, end in fields(data, at, stop):
        if wire == LENGTH and field == _KEY:
            name = _text(data[begin:end])
        elif wire == LENGTH and field == _VALUE:
            if value is not None:
                raise IrregularError
            value = begin, end
    begin, end = value or (stop, stop)
    return name, begin, end


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CodecError(f"a name is not UTF-8: {data[:40]!r}") from error


def _spec(data: bytes) -> ServedModel:
    return _known_spec(data) if len(data) <= _MOST_KNOWN else _parsed_spec(data)


@lru_cache(maxsize=256)  # clients ask for few models
def _known_spec(data: bytes) -> ServedModel:
    return _parsed_spec(data)


def _parsed_spec(data: bytes) -> ServedModel:
    from google.protobuf.message import DecodeError

    from attnexport.serving.messages import ModelSpec

    try:
        return ServedModel.from_message(ModelSpec.FromString(data))
    except DecodeError as error:
        raise CodecError(f"the bytes are no model_spec: {first_line(error)}") from error


def _usual_form(data: bytes, kind: str) -> bytes:
    from google.protobuf.message import DecodeError

    from attnexport.serving.messages import message

    try:
        parsed = message(f"tensorflow.serving.{kind}").FromString(data)
    except DecodeError as error:
        raise CodecError(f"the bytes are no {kind}: {first_line(error)}") from error
    parsed.DiscardUnknownFields()
    serialized: bytes = parsed.SerializeToString(deterministic=True)
    return serialized
