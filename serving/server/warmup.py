"""Warm-up: a version's own requests are replayed before it becomes available."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from attnexport.core.errors import AttnexportError, first_line
from attnexport.serving.codec import ServedModel, decode_tensor
from attnexport.serving.messages import ClassificationResponse, PredictionLog, RegressionResponse

from .inference import Inference
from .multi_inference import multi_inference
from .status import Code, StatusError, invalid, status_of
from .versions import ServedVersion

MAX_RECORDS = 1000  # TF Serving refuses a version with more


def warm_up(inference: Inference, iterations: int = 1) -> Callable[[ServedVersion], None]:
    """A function that replays the records of a version that was just loaded, each `iterations` times.

    It raises a StatusError that names the record that fails, with the code of the failure.
    """

    def warm(version: ServedVersion) -> None:
        begin, code = time.perf_counter(), Code.OK
        try:
            _replay(inference, version, iterations)
        except AttnexportError as error:
            code = status_of(error).code
            raise
        finally:
            inference.metrics.warmup(str(version.path), code, time.perf_counter() - begin)

    return warm


def _replay(inference: Inference, version: ServedVersion, iterations: int) -> None:
    for number, record in enumerate(version.model.warmup_records(), 1):
        if number > MAX_RECORDS:
            raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS})")
        try:
            log = PredictionLog.FromString(record)
            for _ in range(iterations):
                _run(inference, version, log)
        except DecodeError as error:
            raise invalid(f"Failed to parse warmup record {number}: {first_line(error)}") from error
        except AttnexportError as error:
            raise StatusError(status_of(error).code, f"warm-up record {number} fails: {error}") from error


def _run(inference: Inference, version: ServedVersion, log: Any) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {
            name: decode_tensor(tensor.SerializeToString(), lenient=True) for name, tensor in request.inputs.items()
        }
        inference.predict(version, request.model_spec.signature_name, inputs, list(request.output_filter))
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        reply = ClassificationResponse() if kind == "classify_log" else RegressionResponse()
        method = kind.removesuffix("_log")
        inference.examples(version, request.model_spec.signature_name, method, request.input, reply.result)
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        tasks = [(ServedModel.from_message(task.model_spec), task.method_name) for task in request.tasks]
        multi_inference(inference, version, tasks, request.input)
    elif kind is not None:  # an empty record is accepted, as by TF Serving
        raise StatusError(
            Code.UNIMPLEMENTED,
            f"Unsupported log_type for warmup: {kind}; Predict, Classify, Regress and MultiInference are replayed",
        )
