"""The page at `/`: an overview of all models, and for each its versions, its traffic and a form to try a signature."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attnexport.core.printable import printable_value, shell_word
from attnexport.core.signature import DEFAULT_SIGNATURE, Signature
from attnexport.serving.codec import ServedModel

from .dataplane import DataPlane
from .page_examples import example_bodies
from .recent import Recent
from .status import StatusError

_WIDTH, _HEIGHT = 120, 24  # of a sparkline, in pixels


def render(plane: DataPlane, grpc_address: str | None, rest_port: int, metrics_path: str | None = None) -> str:
    """The whole page as HTML that fetches nothing."""
    names = sorted(config.name for config in plane.manager.configs())
    models = [_model(plane, name, grpc_address, rest_port) for name in names]
    shape = json.dumps(
        [[each["name"], each["version"], [one["name"] for one in each["signatures"]]] for each in models]
    )
    metrics = None if metrics_path is None else metrics_path.lstrip("/")
    return str(_template().render(models=models, shape=shape, metrics=metrics, port=rest_port))


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=printable_value
    )
    return environment.from_string(text)


def _model(plane: DataPlane, name: str, grpc_address: str | None, rest_port: int) -> dict[str, Any]:
    statuses = plane.manager.statuses(name)
    labels = plane.manager.served(name).labels
    recent = plane.metrics.recent.of(name)
    signatures, bodies, version = _signatures(plane, name)
    states = [status.state.name for status in statuses]
    failed = [status for status in statuses if status.message]
    return {
        "name": name,
        "recent": recent,
        "sparkline": _sparkline(recent),
        "labels": ", ".join(f"{label}: {number}" for label, number in labels.items()),
        "statuses": statuses,
        "state": "AVAILABLE" if "AVAILABLE" in states else states[0] if states else "no versions yet",
        "version": version,
        "has_errors": bool(failed),
        "signatures": [_signature(name, each, bodies, grpc_address, rest_port) for each in signatures],
    }


def _signatures(plane: DataPlane, name: str) -> tuple[list[Signature], Mapping[str, dict[str, Any] | None], int | None]:
    """The signatures that a person calls, no initializers; their examples; and the version that answers."""
    try:
        with plane.manager.hold(ServedModel(name)) as version:
            signatures = [each for each in version.model.signatures.values() if each.inputs]
            bodies, number = example_bodies(version), version.number
    except StatusError:
        return [], {}, None
    return sorted(signatures, key=lambda each: (each.name != DEFAULT_SIGNATURE, each.name)), bodies, number


def _signature(
    name: str,
    signature: Signature,
    bodies: Mapping[str, dict[str, Any] | None],
    grpc_address: str | None,
    rest_port: int,
) -> dict[str, Any]:
    body = bodies.get(signature.name)
    return {
        "name": signature.name,
        "method": signature.method,
        "inputs": ", ".join(map(str, signature.inputs)),
        "outputs": ", ".join(map(str, signature.outputs)),
        "path": f"v1/models/{quote(name, safe='')}:{signature.method}",
        "body": None if body is None else json.dumps(body),
        "command": command_line(name, signature, body, grpc_address),
        "curl": curl_line(name, signature, body, rest_port),
    }


def command_line(name: str, signature: Signature, body: dict[str, Any] | None, grpc_address: str | None) -> str | None:
    """The attnexport command that sends the same request over gRPC; without gRPC None."""
    if grpc_address is None:
        return None
    words = ["attnexport", signature.method, "--server", grpc_address, "--model", name, "--signature", signature.name]
    if body is None:
        return _line([*words, "--samples", "samples.npz"])
    content = {key: value for key, value in body.items() if key != "signature_name"}
    return f"echo {shell_word(json.dumps(content))} | {_line([*words, '--samples', '-'])}"


def curl_line(name: str, signature: Signature, body: dict[str, Any] | None, rest_port: int) -> str:
    """The curl command that sends the same request over REST; a large one from a file."""
    url = f"http://127.0.0.1:{rest_port}/v1/models/{quote(name, safe='')}:{signature.method}"
    return _line(["curl", url, "-d", "@request.json" if body is None else json.dumps(body)])


def _line(words: Sequence[str]) -> str:
    return " ".join(map(shell_word, words))


def _sparkline(recent: Recent) -> str:
    """The requests of the last ten minutes as the points of a line."""
    most = max(recent.per_slice)
    step = _WIDTH / max(1, len(recent.per_slice) - 1)
    heights = (_HEIGHT - 1 - (_HEIGHT - 3) * count / most if most else _HEIGHT - 1 for count in recent.per_slice)
    return " ".join(f"{number * step:.1f},{height:.1f}" for number, height in enumerate(heights))
