"""The answers of TensorFlow Serving's own server, recorded in November 2026, against ours.

recorded/answers.jsonl.gz has a request and its answer a line (bytes in base64), of the models of recorded_models.py.
What docs/tfserving.md lists as different on purpose is not in it.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from attnexport.serving.messages import METHODS
from attnexport.serving.server import ModelConfig, VersionPolicy
from tests.serving import recorded_models

ANSWERS = Path(__file__).with_name("recorded") / "answers.jsonl.gz"


@pytest.fixture(scope="module")
def recorded(serving_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("recorded")
    recorded_models.write_all(folder)
    labels = {"stable": 123, "canary": 124}
    configs = [ModelConfig(name, folder / name) for name in ("misc", "ex")]
    configs.append(ModelConfig("two", folder / "two", policy=VersionPolicy(every=True), labels=labels))
    running = serving_models.Serving(configs, allow_unavailable_labels=True)
    yield running
    running.stop()


def cases(edge: str) -> list[dict[str, Any]]:
    with gzip.open(ANSWERS, "rt", encoding="utf-8") as lines:
        return [case for line in lines if (case := json.loads(line))["edge"] == edge]


def near(one: Any, other: Any) -> bool:
    """Equal; floats within 2e-6 of their size."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(near, one, other))
    if isinstance(one, float) or isinstance(other, float):
        try:
            return bool(np.isclose(float(one), float(other), rtol=2e-6, atol=1e-7, equal_nan=True))
        except (TypeError, ValueError):
            return False
    return bool(one == other)


def fields(method: str, data: bytes) -> Any:
    name = method.rpartition("/")[2]
    if name not in METHODS:
        return data
    message = METHODS[name].response.FromString(data)
    if name == "GetModelMetadata":
        signatures = get_model_metadata_pb2.SignatureDefMap.FromString(message.metadata["signature_def"].value)
        return [str(message.model_spec), sorted(message.metadata), json_format.MessageToDict(signatures)]
    return json_format.MessageToDict(message)


def test_grpc_answers_are_tf_servings_and_refusals_keep_its_words(recorded: Any) -> None:
    different = []
    for case in cases("grpc"):
        call = recorded.channel.unary_unary(case["method"])
        try:
            code, reply = "OK", call(base64.b64decode(case["request"]), timeout=60)
        except grpc.RpcError as error:
            code, reply = error.code().name, error.details()
        wanted = base64.b64decode(case["reply"]) if case["reply"] else b""
        same = code == case["code"] and (
            near(fields(case["method"], wanted), fields(case["method"], reply))
            if code == "OK"
            else re.split(r"[:.;\n\d]", case["message"] or "")[0].strip() in (reply or "")
        )
        if not same:
            different.append((case["id"], case["name"], case["code"], case["message"], code, reply))
    assert different == []


def test_rest_answers_are_tf_servings(recorded: Any) -> None:
    different = []
    for case in cases("rest"):
        status, content_type, reply = send(recorded.server.rest_address.removeprefix("http://"), case)
        wanted = base64.b64decode(case["reply"])
        same = status == case["status"] and content_type.split(";")[0] == case["content_type"].split(";")[0]
        if not same or (status == 200 and not near(parsed(wanted), parsed(reply))):
            different.append((case["id"], case["name"], case["status"], wanted, status, reply))
    assert different == []


def send(address: str, case: dict[str, Any]) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(address, timeout=60)
    # Paths and methods that http.client would refuse are what this is about.
    connection._validate_path = connection._validate_method = lambda _: None  # type: ignore[method-assign]
    body = None if case["body"] is None else base64.b64decode(case["body"])
    headers = dict(case["headers"])
    if body is not None:
        headers = {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}
    try:
        connection.putrequest(case["method"], case["path"], skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, reply.getheader("Content-Type", ""), reply.read()
    finally:
        connection.close()


def parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data
