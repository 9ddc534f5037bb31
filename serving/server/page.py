"""The page at `/`: models, the states of their versions, and commands to copy that query them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attnexport.core.printable import shell_word
from attnexport.core.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from attnexport.serving.codec import ServedModel

from .dataplane import DataPlane
from .metrics import Traffic
from .status import StatusError

_MAX_VALUES = 4096  # in a request that is copied from the page
_SAMPLES = {"string": "", "bool": False}


def render(plane: DataPlane, grpc_address: str | None, rest_port: int) -> str:
    """The whole page as HTML that fetches nothing."""
    traffic = plane.metrics.traffic()
    names = sorted(config.name for config in plane.manager.configs())
    models = [_model(plane, name, traffic.get(name), grpc_address, rest_port) for name in names]
    return str(_template().render(models=models))


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(text)


def _model(
    plane: DataPlane, name: str, traffic: Traffic | None, grpc_address: str | None, rest_port: int
) -> dict[str, Any]:
    statuses = plane.manager.statuses(name)
    labels = plane.manager.served(name).labels
    return {
        "name": name,
        "traffic": _traffic(traffic),
        "labels": ", ".join(f"{label}: {number}" for label, number in labels.items()),
        "statuses": statuses,
        "has_errors": any(status.message for status in statuses),
        "signatures": [_signature(name, each, grpc_address, rest_port) for each in _signatures(plane, name)],
    }


def _traffic(traffic: Traffic | None) -> str:
    if traffic is None or not traffic.by_status:
        return "No requests yet"
    counts = ", ".join(f"{count} {status}" for status, count in sorted(traffic.by_status.items()))
    return f"Requests: {counts}; {traffic.mean_ms:.2f} ms on average"


def _signatures(plane: DataPlane, name: str) -> list[Signature]:
    try:
        with plane.manager.hold(ServedModel(name)) as version:
            signatures = list(version.model.signatures.values())
    except StatusError:
        return []
    signatures = [each for each in signatures if each.inputs]  # what a person calls: no initializers
    return sorted(signatures, key=lambda each: (each.name != DEFAULT_SIGNATURE, each.name))


def _signature(name: str, signature: Signature, grpc_address: str | None, rest_port: int) -> dict[str, Any]:
    lines = [curl_line(name, signature, rest_port)]
    if grpc_address:
        lines.insert(0, predict_line(name, signature, grpc_address))
    inputs, outputs = (", ".join(map(str, specs)) for specs in (signature.inputs, signature.outputs))
    return {"name": signature.name, "inputs": inputs, "outputs": outputs, "lines": lines}


def predict_line(name: str, signature: Signature, grpc_address: str) -> str:
    """The `attnexport predict` command that calls a signature."""
    words = ["attnexport", "predict", "--server", grpc_address, "--model", name, "--signature", signature.name]
    return _line([*words, "--input", "samples.npz"])


def curl_line(name: str, signature: Signature, rest_port: int) -> str:
    """The curl command that calls a signature, with synthetic values unless there are too many."""
    url = f"http://127.0.0.1:{rest_port}/v1/models/{quote(name, safe='')}"
    if any(spec.dtype in ("float16", "bfloat16", "complex64", "complex128") for spec in signature.inputs):
        return _line(["curl", f"{url}/metadata"])
    if signature.method != "predict":
        body: Any = {"signature_name": signature.name, "examples": [{"FEATURE": [0.0]}]}
        return _line(["curl", f"{url}:{signature.method}", "-d", json.dumps(body)])
    if sum(_size(spec) for spec in signature.inputs) > _MAX_VALUES:
        return _line(["curl", f"{url}:predict", "-d", "@request.json"])
    body = {"signature_name": signature.name, "inputs": {spec.name: _sample(spec) for spec in signature.inputs}}
    return _line(["curl", f"{url}:predict", "-d", json.dumps(body)])


def _line(words: Sequence[str]) -> str:
    return " ".join(map(shell_word, words))


def _size(spec: TensorSpec) -> int:
    size = 1
    for each in spec.shape or ():
        size *= each or 1
    return size


def _sample(spec: TensorSpec) -> Any:
    value: Any = _SAMPLES.get(spec.dtype, 0.0 if spec.is_float else 0)
    for size in reversed(spec.shape or ()):
        value = [value] * (1 if size is None else size)
    return value
