"""The page at `/`: what is served, in which state, and lines to copy that query it."""

from __future__ import annotations

import json
import shlex
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attnexport.core.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from attnexport.serving.codec import ServedModel

from .dataplane import DataPlane
from .metrics import Traffic
from .status import StatusError
from .versions import VersionStatus

_MAX_VALUES = 4096  # in an example that is to be copied
_SAMPLES = {"string": "", "bool": False}


def render(plane: DataPlane, grpc_address: str | None, rest_port: int) -> str:
    """The whole page, with nothing to fetch."""
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    traffic = plane.metrics.traffic()
    models = [
        _model(plane, config.name, traffic.get(config.name), grpc_address, rest_port)
        for config in sorted(plane.manager.configs(), key=lambda config: config.name)
    ]
    return template.replace("{{models}}", "".join(models) or "<p>No models are configured.</p>")


def _model(plane: DataPlane, name: str, traffic: Traffic | None, grpc_address: str | None, rest_port: int) -> str:
    statuses = plane.manager.statuses(name)
    rows = "".join(_version(status) for status in statuses)
    error = "<th>error" if any(status.message for status in statuses) else ""
    labels = ", ".join(f"{label}: {number}" for label, number in plane.manager.served(name).labels.items())
    return (
        f'<section data-model="{escape(name)}"><h2>{escape(name)}</h2>'
        f"<p>{escape(_requests(traffic))}{f'; labels {escape(labels)}' if labels else ''}</p>"
        f"<table><tr><th>version<th>state{error}</tr>{rows}</table>"
        f"{_signatures(plane, name, grpc_address, rest_port)}</section>"
    )


def _version(status: VersionStatus) -> str:
    error = f"{status.code.name}: {status.message}" if status.message else ""
    state = status.state.name
    kind = f"{state} failed" if error else state
    return f'<tr><td>{status.version}<td class="{kind}">{state}<td>{escape(error)}</tr>'


def _requests(traffic: Traffic | None) -> str:
    if traffic is None or not traffic.by_status:
        return "No requests yet"
    counts = ", ".join(f"{count} {status}" for status, count in sorted(traffic.by_status.items()))
    return f"Requests: {counts}; {traffic.mean_ms:.2f} ms on average"


def _signatures(plane: DataPlane, name: str, grpc_address: str | None, rest_port: int) -> str:
    try:
        with plane.manager.hold(ServedModel(name)) as version:
            signatures = list(version.model.signatures.values())
    except StatusError:
        return ""
    signatures.sort(key=lambda each: (each.name != DEFAULT_SIGNATURE, each.name))  # an artifact has them in any order
    return "".join(_signature(name, each, grpc_address, rest_port) for each in signatures)


def _signature(name: str, signature: Signature, grpc_address: str | None, rest_port: int) -> str:
    inputs, outputs = (", ".join(map(str, specs)) for specs in (signature.inputs, signature.outputs))
    lines = [curl_line(name, signature, rest_port)]
    if grpc_address:
        lines.insert(0, predict_line(name, signature, grpc_address))
    copied = "".join(f"<div class=line><pre>{escape(line)}</pre><button>copy</button></div>" for line in lines)
    return (
        f"<h3>{escape(signature.name)}</h3><p>takes <code>{escape(inputs)}</code><br>"
        f"gives <code>{escape(outputs)}</code></p>{copied}"
    )


def predict_line(name: str, signature: Signature, grpc_address: str) -> str:
    """The `attnexport predict` that asks a signature."""
    words = ["attnexport", "predict", "--server", grpc_address, "--model", name, "--signature", signature.name]
    return shlex.join([*words, "--input", "samples.npz"])


def curl_line(name: str, signature: Signature, rest_port: int) -> str:
    """The curl that asks a signature, with made-up values where they are not too many."""
    url = f"http://127.0.0.1:{rest_port}/v1/models/{quote(name, safe='')}"
    if any(spec.dtype in ("float16", "bfloat16", "complex64", "complex128") for spec in signature.inputs):
        return shlex.join(["curl", f"{url}/metadata"])
    if signature.method != "predict":
        body: Any = {"signature_name": signature.name, "examples": [{"FEATURE": [0.0]}]}
        return shlex.join(["curl", f"{url}:{signature.method}", "-d", json.dumps(body)])
    if sum(_size(spec) for spec in signature.inputs) > _MAX_VALUES:
        return shlex.join(["curl", f"{url}:predict", "-d", "@request.json"])
    body = {"signature_name": signature.name, "inputs": {spec.name: _sample(spec) for spec in signature.inputs}}
    return shlex.join(["curl", f"{url}:predict", "-d", json.dumps(body)])


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
