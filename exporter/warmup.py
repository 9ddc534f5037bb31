"""Warm-up records: requests that TF Serving replays before it calls a version available."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from attnexport.core.batches import chunks
from attnexport.core.errors import ContentError, ModelError
from attnexport.core.reading import check_filled, is_regular
from attnexport.core.signature import DEFAULT_SIGNATURE, Array, Arrays, Signature

from .quiet import quiet_tensorflow
from .tensorflow_errors import reason

RECORDS_PATH = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000  # TF Serving refuses a version with more
_MAX_FILLED = 1 << 25  # elements of a tensor that has fewer values
_HEADER_BYTES, _FOOTER_BYTES = 12, 4  # of a record: its length, and the sums of the length and of its bytes


def write_warmup(
    saved_model: Path, model_name: str, signatures: Mapping[str, Signature], inputs: Mapping[str, Arrays]
) -> None:
    """Write one record per sample and signature (per batch, if the batch is fixed).

    Args:
        saved_model: The SavedModel's directory.
        model_name: The name that the requests carry.
        signatures: The SavedModel's signatures.
        inputs: Arrays `[n, ...]` by input name, for each signature.
    """
    path = saved_model / RECORDS_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, arrays in inputs.items():
            batch = signatures[name].fixed_batch or 1
            for part, _ in chunks(arrays, batch, fill=True):
                record = _record(model_name, signatures[name], part)
                writer.write(record.SerializeToString())


def read_warmup(saved_model: Path) -> Iterator[tuple[str, Arrays] | None]:
    """The records of a SavedModel, as signature name and inputs; empty if it has none.

    Yields None for a record of any other kind than Predict, Classify and Regress.

    Raises:
        ModelError: if a record cannot be read.
    """
    number = 0
    try:
        for data in read_records(saved_model):
            number += 1
            yield read_record(data)
    except (tf.errors.OpError, ContentError, DecodeError, ValueError, TypeError) as error:
        raise ModelError(f"its warm-up records are damaged at number {number or 1}: {reason(error)}") from error


def read_records(saved_model: Path) -> Iterator[bytes]:
    """The serialized records of a SavedModel; none if it has none.

    Raises:
        ContentError: if the file is not a regular one, or a record says that it is longer than the file.
        tf.errors.OpError: if it is damaged otherwise.
    """
    path = saved_model / RECORDS_PATH
    if path.exists():
        _check_lengths(path)
        with quiet_tensorflow():  # a dataset takes a hundred times as long
            records = tf.compat.v1.io.tf_record_iterator(str(path))
        yield from records


def _check_lengths(path: Path) -> None:
    """Refuse a record of more bytes than there are, which TensorFlow would make room for first."""
    if not is_regular(path):
        raise ContentError("not a regular file")
    check_filled(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(_HEADER_BYTES):
            length = int.from_bytes(header[:8], "little")
            if len(header) < _HEADER_BYTES or file.tell() + length + _FOOTER_BYTES > size:
                raise ContentError("a record is longer than the file")
            file.seek(length + _FOOTER_BYTES, 1)


def read_record(data: bytes) -> tuple[str, Arrays] | None:
    """One serialized record as signature name and inputs, None for a kind that is not replayed.

    Raises:
        DecodeError, ValueError, TypeError: if it is damaged, or a tensor in it takes far more memory than its bytes.
    """
    log = prediction_log_pb2.PredictionLog.FromString(data)
    kind = log.WhichOneof("log_type")
    if kind not in ("predict_log", "classify_log", "regress_log"):
        return None
    request = getattr(log, kind).request
    if kind == "predict_log":
        inputs = {name: _array(tensor) for name, tensor in request.inputs.items()}
    else:
        with_context = request.input.example_list_with_context
        examples = [*request.input.example_list.examples]
        for example in with_context.examples:
            merged = tf.train.Example()
            merged.CopyFrom(with_context.context)
            merged.MergeFrom(example)
            examples.append(merged)
        inputs = {"inputs": np.array([each.SerializeToString() for each in examples], dtype=object)}
    return request.model_spec.signature_name or DEFAULT_SIGNATURE, inputs


def _array(tensor: Any) -> Array:
    """A tensor's array; a shape may fill any number of elements from one value."""
    size = math.prod(each.size for each in tensor.tensor_shape.dim)
    if size < 0 or size > _MAX_FILLED + len(tensor.tensor_content) + tensor.ByteSize():
        raise ValueError(f"a tensor of {size:,} elements is filled from {tensor.ByteSize():,} bytes")
    return np.asarray(tf.make_ndarray(tensor))


def count_warmup(saved_model: Path) -> int:
    """How many warm-up records a SavedModel has."""
    return sum(1 for _ in read_warmup(saved_model))


def _record(model_name: str, signature: Signature, inputs: Arrays) -> Any:
    log = prediction_log_pb2.PredictionLog()
    if signature.method == "predict":
        request = log.predict_log.request
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    else:
        request = getattr(log, f"{signature.method}_log").request
        examples = request.input.example_list.examples
        for serialized in next(iter(inputs.values())):
            examples.append(tf.train.Example.FromString(serialized))
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature.name
    return log
