"""PredictRequest and PredictResponse on the wire, both ends: tensors are neither parsed twice nor copied twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from attnexport.core.errors import CodecError, first_line
from attnexport.core.signature import Arrays

from .decode import SPLAT_LIMIT, decode_tensor
from .encode import Chunks, Form, check_size, raw_head, tensor_chunks
from .framing import Framings
from .wire import LENGTH, IrregularError, fields, varint

_KEY, _VALUE = 1, 2  # of a map's entry
_MOST_KNOWN = 256  # bytes of a model_spec that is remembered


class ServedModel(NamedTuple):
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


class PredictCall(NamedTuple):
    """What a PredictRequest asks: the model, its inputs by name, and the outputs wanted (all where empty)."""

    model: ServedModel
    inputs: Arrays
    outputs: tuple[str, ...] = ()


class PredictAnswer(NamedTuple):
    """What a PredictResponse says: the model that answered, and its outputs by name."""

    model: ServedModel
    outputs: Arrays


_Meaning = tuple[ServedModel, tuple[str, ...]]  # the model, and the outputs that are wanted


class _Kind(NamedTuple):
    """A message of tensorflow.serving: its name, the numbers of its fields (0: it has none), and the framings met."""

    name: str
    spec: int
    tensors: int
    wanted: int
    known: Framings[_Meaning]


_REQUEST = _Kind("PredictRequest", 1, 2, 3, Framings())
_REPLY = _Kind("PredictResponse", 2, 1, 0, Framings())


def encode_predict_request(
    model: ServedModel, inputs: Mapping[str, Any], outputs: Sequence[str] = (), form: Form = "content"
) -> bytes:
    """The bytes of a PredictRequest.

    Raises:
        CodecError: naming the input that no tensor can hold; or where the message would exceed 2 GiB.
    """
    spec = _submessage(_REQUEST.spec, model.to_message().SerializeToString())
    wanted = b"".join([_submessage(_REQUEST.wanted, _name(name)) for name in outputs])
    return _joined(spec, _REQUEST.tensors, inputs, form, wanted)


def encode_predict_reply(model: ServedModel, outputs: Mapping[str, Any], form: Form = "values") -> bytes:
    """The bytes of a PredictResponse, by default in the form that TF Serving answers in.

    Raises:
        CodecError: naming the output that no tensor can hold; or where the message would exceed 2 GiB.
    """
    return _joined(b"", _REPLY.tensors, outputs, form, _answered(model))


@lru_cache(maxsize=256)  # a server answers from few models
def _answered(model: ServedModel) -> bytes:
    return _submessage(_REPLY.spec, model.to_message().SerializeToString())


def decode_predict_request(data: bytes, *, splat_limit: int = SPLAT_LIMIT) -> PredictCall:
    """A PredictRequest; its arrays are read-only and share the memory of `data` where they can.

    Raises:
        CodecError: where the bytes are damaged, naming the input.
    """
    (spec, wanted), inputs = _REQUEST.known.read(data) or _read(data, _REQUEST, splat_limit)
    return PredictCall(spec, inputs, wanted)


def decode_predict_reply(data: bytes, *, splat_limit: int = SPLAT_LIMIT) -> PredictAnswer:
    """A PredictResponse; its arrays are read-only and share the memory of `data` where they can.

    Raises:
        CodecError: where the bytes are damaged, naming the output.
    """
    (spec, _), outputs = _REPLY.known.read(data) or _read(data, _REPLY, splat_limit)
    return PredictAnswer(spec, outputs)


def _submessage(field: int, data: bytes) -> bytes:
    return varint(field << 3 | LENGTH) + varint(len(data)) + data


def _joined(before: bytes, field: int, arrays: Mapping[str, Any], form: Form, behind: bytes) -> bytes:
    """A message that has a map of tensors between other fields."""
    chunks: Chunks = [before]
    whole = len(before) + len(behind)
    for name, array in arrays.items():
        try:
            if type(array) is np.ndarray and array.flags.c_contiguous:
                head, size = _head(field, name, array.dtype, array.shape, form)
                if size:
                    chunks += (head, array)
                    whole += size
                    continue
            tensor, size = tensor_chunks(array, form)
        except CodecError as error:
            raise CodecError(f"{name!r}: {error}") from error
        head = _entry_head(field, name, size)
        chunks += (head, *tensor)
        whole += len(head) + size
    check_size(whole)
    chunks.append(behind)
    return b"".join(chunks)


@lru_cache(maxsize=256)  # as many outputs, and shapes of them, as a server answers with
def _head(field: int, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], form: Form) -> tuple[bytes, int]:
    """What stands before the memory of a contiguous array, and the bytes of both; 0 where that is not what is sent."""
    head = raw_head(dtype, shape, form)
    if head is None:
        return b"", 0
    size = prod(shape) * dtype.itemsize
    head = _entry_head(field, name, len(head) + size) + head
    return head, len(head) + size


def _entry_head(field: int, name: str, size: int) -> bytes:
    """What stands before a tensor of so many bytes in a map."""
    key = _name(name)
    head = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(size)
    return varint(field << 3 | LENGTH) + varint(len(head) + size) + head


def _name(name: Any) -> bytes:
    try:
        encoded: bytes = name.encode()
    except (AttributeError, UnicodeEncodeError) as error:
        raise CodecError(f"the name of a tensor must be text; received {name!r}") from error
    return encoded


def _read(data: bytes, kind: _Kind, splat_limit: int) -> tuple[_Meaning, Arrays]:
    try:
        meaning, arrays = _scan(data, kind, splat_limit)
        kind.known.remember(data, meaning, arrays)
    except IrregularError:
        meaning, arrays = _scan(_usual_form(data, kind.name), kind, splat_limit)
    return meaning, arrays


def _scan(data: bytes, kind: _Kind, splat_limit: int) -> tuple[_Meaning, Arrays]:
    spec: ServedModel | None = None
    places: dict[str, tuple[int, int]] = {}
    wanted: list[str] = []
    for field, wire, begin, end in fields(data, 0, len(data)):
        if wire != LENGTH:
            continue
        if field == kind.tensors:
            name, at, stop = _entry(data, begin, end)
            places[name] = at, stop
        elif field == kind.spec:
            if spec is not None:
                raise IrregularError
            spec = _spec(data[begin:end])
        elif field == kind.wanted:
            wanted.append(_text(data[begin:end]))
    arrays: Arrays = {}
    for name, (at, stop) in sorted(places.items()):  # a map comes in any order
        try:
            arrays[name] = decode_tensor(data, at, stop, splat_limit=splat_limit)
        except CodecError as error:
            raise CodecError(f"{name!r}: {error}") from error
    return (spec or ServedModel(""), tuple(wanted)), arrays


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
