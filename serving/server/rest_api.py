"""The REST API of TF Serving as a function: method, path and body in, JSON out."""

from __future__ import annotations

import json
import re
import time
import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format

from attnexport.core.limits import MAX_VERSION
from attnexport.core.signature import DEFAULT_SIGNATURE, Signature
from attnexport.serving.codec import ServedModel
from attnexport.serving.messages import (
    POOL,
    ClassificationRequest,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    RegressionRequest,
    SignatureDefMap,
)

from .cancellation import Alive, always, check_alive
from .dataplane import DataPlane
from .edges import OnAccess
from .rest_examples import fill_examples, write_classifications, write_regressions
from .rest_inputs import read_inputs
from .rest_json import parse
from .rest_outputs import write_outputs
from .status import HTTP_STATUS, Code, StatusError, invalid, status_of
from .versions import ServedVersion

_CHOICE = r"(?:/(?:versions/(?P<version>\d+)|labels/(?P<label>[^/:]+)))?"
_RUN = re.compile(rf"/v1/models/(?P<model>[^/:]+){_CHOICE}:(?P<verb>classify|regress|predict)", re.IGNORECASE)
_ASK = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_CHOICE}(?P<metadata>/metadata)?", re.IGNORECASE)
_SLICE = 1 << 14  # bytes of gzip at a time: each of its members copies what follows it in its slice


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a JSON document.

    Attributes:
        is_quick: Whether the next request of this kind may be answered where others wait for it.
    """

    status: int
    body: str
    is_quick: bool = False


class NotQuickError(Exception):
    """A request that others would have to wait for."""


class BodyError(StatusError):
    """A body that HTTP has a status of its own for.

    Attributes:
        http: The HTTP status.
    """

    def __init__(self, http: int, text: str) -> None:
        super().__init__(Code.OUT_OF_RANGE, text)
        self.http = http


class RestApi:
    """Answers REST requests from a data plane; unpacked bodies may have `max_body_bytes` bytes."""

    def __init__(self, plane: DataPlane, on_access: OnAccess, max_body_bytes: int) -> None:
        self._plane, self._on_access, self._max_body_bytes = plane, on_access, max_body_bytes

    def respond(
        self,
        method: str,
        path: str,
        body: bytes | bytearray,
        alive: Alive,
        packed: bool = False,
        *,
        at_once: bool = False,
    ) -> Answer:
        """Answer one request below /v1.

        Args:
            method: The HTTP method.
            path: The path and query, still escaped: escaped characters of a name are not those of the path.
            body: The body; empty if there is none.
            alive: Whether the client still waits.
            packed: Whether the body is gzip.
            at_once: Answer only if the model is known to be quick.

        Raises:
            NotQuickError: if it is not, and `at_once` asks for it.
        """
        begin = time.perf_counter()
        match = _RUN.fullmatch(path) if method == "POST" else _ASK.fullmatch(path) if method == "GET" else None
        is_run = match is not None and method == "POST"
        if match is not None and is_run and not match["verb"].islower():
            match = None  # TF Serving matches paths of any case, and then knows only lower-case verbs
        code, api, name = Code.OK, "Unknown", unquote(match["model"] or "") if match else ""
        try:
            if match is None:
                raise invalid(f"Malformed request: {method} {path[:200]}")
            if is_run:
                api = match["verb"].capitalize()
                answer = self._run(api, _model(match), body, alive, packed, at_once)
            else:
                api = "GetModelMetadata" if match["metadata"] == "/metadata" else "GetModelStatus"
                answer = Answer(200, self._ask(_model(match), metadata=match["metadata"] == "/metadata"))
        except NotQuickError:
            raise
        except Exception as error:
            text = "a name in the request is not UTF-8"
            status = invalid(text) if isinstance(error, UnicodeEncodeError) else status_of(error)
            code, answer = status.code, refused(status)
        seconds = time.perf_counter() - begin
        verb = match["verb"] if match is not None and is_run else ""
        self._plane.count(name, verb, "REST", code, seconds)
        self._on_access("REST", api, name, code, seconds)
        return answer

    def _run(
        self, api: str, model: ServedModel, body: bytes | bytearray, alive: Alive, packed: bool, at_once: bool
    ) -> Answer:
        if at_once and api != "Predict":
            raise NotQuickError
        check_alive(alive)
        document = parse(unpack(body, self._max_body_bytes, alive) if packed else body)
        signature = document.get("signature_name", "")
        if api == "Predict":
            model = ServedModel(model.name, model.version, model.label, signature)
            with self._plane.manager.hold(model) as version:
                return self._predict(version, signature, document, alive, at_once)
        request = ClassificationRequest() if api == "Classify" else RegressionRequest()
        request.model_spec.CopyFrom(ServedModel(model.name, model.version, model.label, signature).to_message())
        fill_examples(document, request.input)
        check_alive(alive)
        if api == "Classify":
            return Answer(200, write_classifications(self._plane.classify(request, alive).result))
        return Answer(200, write_regressions(self._plane.regress(request, alive).result))

    def _predict(
        self, version: ServedVersion, name: str, document: dict[str, Any], alive: Alive, at_once: bool
    ) -> Answer:
        inputs, rows = read_inputs(document, self._signature(version, name))
        check_alive(alive)
        kind = version.pace.kind(name, inputs)
        if at_once and not version.pace.is_quick(kind):
            raise NotQuickError
        begin = time.thread_time()  # rather than the clock, which also runs while others compute
        outputs = self._plane.inference.predict(version, name, inputs, (), alive)
        text = write_outputs(outputs, rows=rows)
        version.pace.add(kind, time.thread_time() - begin)
        return Answer(200, text, version.pace.is_quick(kind))

    def _signature(self, version: ServedVersion, name: str) -> Signature:
        """The signature that names and types the inputs; an unknown one is an invalid argument here."""
        try:
            return self._plane.inference.signature(version, name)
        except StatusError as error:
            if error.code is not Code.FAILED_PRECONDITION:
                raise
            name = name or DEFAULT_SIGNATURE
            raise invalid(f'Serving signature name: "{name}" not found in signature def. {error}') from error

    def _ask(self, model: ServedModel, *, metadata: bool) -> str:
        if not model.name:
            raise invalid("Missing model name in request. The path is /v1/models/MODEL")
        request: Any = GetModelMetadataRequest() if metadata else GetModelStatusRequest()
        request.model_spec.CopyFrom(model.to_message())
        if metadata:
            request.metadata_field.append("signature_def")
            return _described(self._plane.metadata(request))
        return json.dumps(_fields(self._plane.status(request)), indent=4)


def refused(status: StatusError) -> Answer:
    """A failure as an HTTP status and a JSON document."""
    code = status.http if isinstance(status, BodyError) else HTTP_STATUS.get(status.code, 500)
    return Answer(code, json.dumps({"error": str(status)}, indent=4))


def too_large(most: int) -> BodyError:
    """The error of a body with too many bytes."""
    return BodyError(413, f"the body is larger than {most:,} bytes, the largest that is read")


def unpack(body: bytes | bytearray, most: int, alive: Alive = always) -> bytearray:
    """The decompressed content of a gzip body, all its members joined.

    Raises:
        StatusError: if it is not gzip, is truncated, or holds more than `most` bytes, or if the client is gone.
    """
    unpacked, unpacker = bytearray(), None
    for begin in range(0, len(body), _SLICE):
        check_alive(alive)  # members that hold nothing take as long as those that do
        rest = bytes(body[begin : begin + _SLICE])
        while rest:
            unpacker = unpacker or zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                unpacked += unpacker.decompress(rest, most - len(unpacked) + 1)
            except zlib.error as error:
                raise invalid(f"the body is said to be gzip and is not: {error}") from error
            if len(unpacked) > most:
                raise too_large(most)
            rest = unpacker.unused_data
            unpacker = None if unpacker.eof else unpacker
    if unpacker:
        raise invalid("the body is gzip that is cut off")
    return unpacked


def _model(match: re.Match[str]) -> ServedModel:
    version = None if match["version"] is None else int(match["version"].lstrip("0")[:30] or 0)
    if version is not None and version > MAX_VERSION:
        raise invalid(f"Failed to convert version: {match['version'][:30]} to numeric.")
    label = None if match["label"] is None else unquote(match["label"])
    return ServedModel(unquote(match["model"] or ""), version, label)


def _described(reply: Any) -> str:
    # The signatures alone, without the type that they are packed with in an Any.
    signatures = SignatureDefMap()
    reply.metadata["signature_def"].Unpack(signatures)
    document = {"model_spec": _fields(reply.model_spec), "metadata": {"signature_def": _fields(signatures)}}
    return json.dumps(document, indent=4)


def _fields(message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, descriptor_pool=POOL
    )
    return fields
