"""PredictRequest and PredictResponse on the wire, for client and server: values are not copied more than needed."""

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
from .served_model import PredictAnswer, PredictCall, ServedModel
from .wire import LENGTH, IrregularError, fields, read_varint, varint

_KEY, _VALUE = 1, 2  # of a map's entry
_MAX_CACHED = 256  # bytes of a model_spec that is kept in a cache


class _Kind(NamedTuple):
    """A message of tensorflow.serving.

    Attributes:
        name: The name of the message.
        spec: The number of the field of the model_spec.
        tensors: The number of the map of tensors.
        wanted: The number of the names of the outputs; 0 if it has none.
        lenient: Whether tensors are read as TensorFlow's runtime reads them; see `decode_tensor`.
    """

    name: str
    spec: int
    tensors: int
    wanted: int
    lenient: bool


_REQUEST = _Kind("PredictRequest", 1, 2, 3, True)
_REPLY = _Kind("PredictResponse", 2, 1, 0, False)


def encode_predict_request(
    model: ServedModel, inputs: Mapping[str, Any], outputs: Sequence[str] = (), form: Form = "content"
) -> bytes:
    """The bytes of a PredictRequest.

    Args:
        model: The model that it is for.
        inputs: Arrays by input name.
        outputs: The outputs to return; all if empty.
        form: See `encode_tensor`.

    Raises:
        CodecError: naming the input that no tensor can hold, or if the message would exceed 2 GiB.

    Example:
        >>> data = encode_predict_request(ServedModel("classifier"), {"x": np.zeros((1, 3))})
        >>> decode_predict_request(data).inputs["x"].shape
        (1, 3)
    """
    spec = _submessage(_REQUEST.spec, model.to_message().SerializeToString())
    wanted = b"".join([_submessage(_REQUEST.wanted, _name(name)) for name in outputs])
    return _joined(spec, _REQUEST.tensors, inputs, form, wanted)


def encode_predict_reply(model: ServedModel, outputs: Mapping[str, Any], form: Form = "values") -> bytes:
    """The bytes of a PredictResponse, by default in the form of TF Serving's replies.

    Args:
        model: The model that answers.
        outputs: Arrays by output name.
        form: See `encode_tensor`.

    Raises:
        CodecError: naming the output that no tensor can hold, or if the message would exceed 2 GiB.

    Example:
        >>> data = encode_predict_reply(ServedModel("classifier", 3), {"y": np.array([0.5])})
        >>> decode_predict_reply(data).outputs["y"].tolist()
        [0.5]
    """
    return _joined(b"", _REPLY.tensors, outputs, form, _answered(model))


@lru_cache(maxsize=256)  # a server answers from few models
def _answered(model: ServedModel) -> bytes:
    return _submessage(_REPLY.spec, model.to_message().SerializeToString())


def decode_predict_request(data: bytes, *, splat_limit: int = SPLAT_LIMIT) -> PredictCall:
    """A PredictRequest; its arrays are read-only and share the memory of `data` if they can.

    Args:
        data: The message.
        splat_limit: See `decode_tensor`.

    Raises:
        CodecError: if the bytes are damaged, naming the input.

    Example:
        >>> data = encode_predict_request(ServedModel("classifier", label="stable"), {"x": np.zeros(2)}, ["logits"])
        >>> request = decode_predict_request(data)
        >>> request.model.label, request.outputs
        ('stable', ('logits',))
    """
    spec, inputs, wanted = _read(data, _REQUEST, splat_limit)
    return PredictCall(spec, inputs, wanted)


def decode_predict_reply(data: bytes, *, splat_limit: int = SPLAT_LIMIT) -> PredictAnswer:
    """A PredictResponse; its arrays are read-only and share the memory of `data` if they can.

    Args:
        data: The message.
        splat_limit: See `decode_tensor`.

    Raises:
        CodecError: if the bytes are damaged, naming the output.

    Example:
        >>> decode_predict_reply(encode_predict_reply(ServedModel("classifier", 3), {})).model.version
        3
    """
    spec, outputs, _ = _read(data, _REPLY, splat_limit)
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
    """What is sent before an array's memory, and the bytes of both; 0 if its memory is not what is sent."""
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


def _read(data: bytes, kind: _Kind, splat_limit: int) -> tuple[ServedModel, Arrays, tuple[str, ...]]:
    try:
        return _scan(data, kind, splat_limit)
    except IrregularError:
        return _scan(_usual_form(data, kind.name), kind, splat_limit)


def _scan(data: bytes, kind: _Kind, splat_limit: int) -> tuple[ServedModel, Arrays, tuple[str, ...]]:
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
            arrays[name] = decode_tensor(data, at, stop, splat_limit=splat_limit, lenient=kind.lenient)
        except CodecError as error:
            raise CodecError(f"{name!r}: {error}") from error
    return spec or ServedModel(""), arrays, tuple(wanted)


def _entry(data: bytes, at: int, stop: int) -> tuple[str, int, int]:
    """The name in an entry of a map, and where its tensor begins and ends."""
    # As serializers write it, with a short name: key, then value.
    value = at + data[at + 1] + 2 if stop - at > 2 else stop
    if value < stop and data[at] == 0x0A and data[at + 1] < 128 and data[value] == 0x12:
        length, begin = read_varint(data, value + 1, stop)
        if begin + length == stop:
            return _text(data[at + 2 : value]), begin, stop
    return _irregular_entry(data, at, stop)


def _irregular_entry(data: bytes, at: int, stop: int) -> tuple[str, int, int]:
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
    return _cached_spec(data) if len(data) <= _MAX_CACHED else _parsed_spec(data)


@lru_cache(maxsize=256)  # clients ask for few models
def _cached_spec(data: bytes) -> ServedModel:
    return _parsed_spec(data)


def _parsed_spec(data: bytes) -> ServedModel:
    from google.protobuf.message import DecodeError

    from attnexport.serving.messages import ModelSpec

    try:
        return ServedModel.from_message(ModelSpec.FromString(data))
    except DecodeError as error:
        raise CodecError(f"the bytes are not a model_spec: {first_line(error)}") from error


def _usual_form(data: bytes, kind: str) -> bytes:
    from google.protobuf.message import DecodeError

    from attnexport.serving.messages import message

    try:
        parsed = message(f"tensorflow.serving.{kind}").FromString(data)
    except DecodeError as error:
        raise CodecError(f"the bytes are not a {kind}: {first_line(error)}") from error
    parsed.DiscardUnknownFields()
    serialized: bytes = parsed.SerializeToString(deterministic=True)
    return serialized
