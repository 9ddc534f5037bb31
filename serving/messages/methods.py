"""The remote calls of TF Serving's two services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .pool import POOL, message

MODELS_SERVICE = "attnexport.Models"  # of the embedded server alone: what it serves, as JSON
SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")


@dataclass(frozen=True)
class RemoteMethod:
    """A unary call: its path on the wire, and the classes of its request and response."""

    service: str
    name: str
    request: Any
    response: Any

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


def _methods() -> dict[str, RemoteMethod]:
    methods = {}
    for service in SERVICES:
        for method in POOL.FindServiceByName(service).methods:
            request, response = message(method.input_type.full_name), message(method.output_type.full_name)
            methods[method.name] = RemoteMethod(service, method.name, request, response)
    return methods


METHODS = _methods()
