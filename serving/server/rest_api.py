"""The REST API of TF Serving as a function: method, path and body in, JSON out."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from attnexport.serving.codec import PredictCall, ServedModel
from attnexport.serving.messages import (
    POOL,
    ClassificationRequest,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    RegressionRequest,
)

from .dataplane import DataPlane
from .grpc_edge import OnAccess
from .inference import Alive
from .rest_examples import fill_examples, write_classifications, write_regressions
from .rest_json import parse, read_inputs, write_outputs
from .status import HTTP_STATUS, Code, StatusError, invalid, status_of

_CHOICE = r"(?:/(?:versions/(?P<version>\d+)|labels/(?P<label>[^/:]+)))?"
_RUN = re.compile(rf"/v1/models/(?P<model>[^/:]+){_CHOICE}:(?P<verb>classify|regress|predict)", re.IGNORECASE)
_ASK = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_CHOICE}(?P<metadata>/metadata)?", re.IGNORECASE)
_MOST_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a JSON document."""

    status: int
    body: str


class RestApi:
    """Answers REST requests from a data plane."""

    def __init__(self, plane: DataPlane, on_access: OnAccess) -> None:
        self._plane, self._on_access = plane, on_access

    def respond(self, method: str, path: str, body: bytes, alive: Alive) -> Answer:
        """Answer one request below /v1."""
        begin = time.perf_counter()
        run, ask = _RUN.fullmatch(path), _ASK.fullmatch(path)
        found = run if method == "POST" else ask if method == "GET" else None
        code, api, name = Code.OK, "Unknown", (found["model"] or "") if found else ""
        try:
            if found is None:
                raise invalid(f"malformed request: {method} {path[:200]}; see TF Serving's RESTful API")
            if found is run:
                api = found["verb"].capitalize()
                text = self._run(api, _asked(found), body, alive)
            else:
                api = "GetModelMetadata" if found["metadata"] else "GetModelStatus"
                text = self._ask(_asked(found), metadata=bool(found["metadata"]))
            answer = Answer(200, text)
        except Exception as error:
            status = status_of(error)
            code, answer = status.code, refused(status)
        seconds = time.perf_counter() - begin
        self._plane.metrics.request(self._plane.known(name), api, "REST", code, seconds)
        self._on_access("REST", api, name, code, seconds)
        return answer

    def _run(self, api: str, model: ServedModel, body: bytes, alive: Alive) -> str:
        if not alive():
            raise StatusError(Code.DEADLINE_EXCEEDED, "nobody waits for this request any more")
        document = parse(body)
        signature = document.get("signature_name", "")
        if api == "Predict":
            model = ServedModel(model.name, model.version, model.label, signature)
            inputs, rows = read_inputs(document, self._plane.signature(model))
            answer = self._plane.predict(PredictCall(model, inputs), alive)
            return write_outputs(answer.outputs, rows=rows)
        request = ClassificationRequest() if api == "Classify" else RegressionRequest()
        request.model_spec.CopyFrom(ServedModel(model.name, model.version, model.label, signature).to_message())
        fill_examples(document, request.input)
        if api == "Classify":
            return write_classifications(self._plane.classify(request, alive).result)
        return write_regressions(self._plane.regress(request, alive).result)

    def _ask(self, model: ServedModel, *, metadata: bool) -> str:
        if not model.name:
            raise invalid("the path names no model; /v1/models/MODEL is wanted")
        request: Any = GetModelMetadataRequest() if metadata else GetModelStatusRequest()
        request.model_spec.CopyFrom(model.to_message())
        if metadata:
            request.metadata_field.append("signature_def")
            return _as_json(self._plane.metadata(request))
        if model.label is not None:
            with self._plane.manager.holding(model) as version:  # over REST a label is resolved
                request.model_spec.version.value = version.number
        return _as_json(self._plane.status(request))


def refused(status: StatusError) -> Answer:
    """A failure as HTTP has it."""
    return Answer(HTTP_STATUS.get(status.code, 500), json.dumps({"error": str(status)}, indent=4))


def _asked(found: re.Match[str]) -> ServedModel:
    version = None if found["version"] is None else int(found["version"][:30])
    if version is not None and version > _MOST_VERSION:
        raise invalid(f"version {version} is beyond int64")
    return ServedModel(found["model"] or "", version, found["label"])


def _as_json(message: Any) -> str:
    text: str = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, descriptor_pool=POOL
    )
    return text
