"""The TF Serving API without TensorFlow: messages, codec, and clients for gRPC."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .client import (
        AsyncClient,
        ClassScore,
        Client,
        ClientOptions,
        ClientRunner,
        ModelMetadata,
        Prediction,
        Retry,
        Tls,
        VersionStatus,
    )

_HOMES = {
    "AsyncClient": "client",
    "ClassScore": "client",
    "Client": "client",
    "ClientOptions": "client",
    "ClientRunner": "client",
    "ModelMetadata": "client",
    "Prediction": "client",
    "Retry": "client",
    "Tls": "client",
    "VersionStatus": "client",
}

__all__ = [
    "AsyncClient",
    "ClassScore",
    "Client",
    "ClientOptions",
    "ClientRunner",
    "ModelMetadata",
    "Prediction",
    "Retry",
    "Tls",
    "VersionStatus",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
