"""Warm-up records: requests that TF Serving replays before it calls a version available."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from attnexport.core.signature import Arrays, Signature

RECORDS_PATH = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000  # TF Serving refuses a version with more


def write_warmup(
    saved_model: Path, model_name: str, signatures: Mapping[str, Signature], inputs: Mapping[str, Arrays]
) -> int:
    """Write one record a sample and signature (a batch, where the batch is fixed).

    Args:
        saved_model: The SavedModel's directory.
        model_name: The name that the requests carry.
        signatures: The SavedModel's signatures.
        inputs: By signature, arrays `[n, ...]` by input name.

    Returns:
        The number of records.
    """
    path = saved_model / RECORDS_PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, arrays in inputs.items():
            batch = signatures[name].fixed_batch or 1
            total = len(next(iter(arrays.values())))
            for start in range(0, total, batch):
                # A fixed batch is filled up by beginning anew.
                rows = np.arange(start, start + batch) % total
                record = _record(model_name, signatures[name], {key: each[rows] for key, each in arrays.items()})
                writer.write(record.SerializeToString())
                count += 1
    return count


def read_warmup(saved_model: Path) -> Iterator[tuple[str, Arrays]]:
    """The records of a SavedModel, as signature name and inputs; none where it has none.

    Raises:
        tf.errors.DataLossError: where the file is damaged.
    """
    path = saved_model / RECORDS_PATH
    if not path.exists():
        return
    for data in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(data)
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        if kind == "predict_log":
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        else:
            examples = request.input.example_list.examples
            inputs = {"inputs": np.array([each.SerializeToString() for each in examples], dtype=object)}
        yield request.model_spec.signature_name or "serving_default", inputs


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
