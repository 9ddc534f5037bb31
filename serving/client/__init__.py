"""Clients of TF Serving over gRPC: one base, a blocking and an asyncio shell."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .aio import AsyncClient
    from .options import ClientOptions, Retry, Tls
    from .responses import ClassScore, ModelMetadata, Prediction, VersionStatus
    from .runner import ClientRunner
    from .sync import Client

_HOMES = {
    "AsyncClient": "aio",
    "ClassScore": "responses",
    "Client": "sync",
    "ClientOptions": "options",
    "ClientRunner": "runner",
    "ModelMetadata": "responses",
    "Prediction": "responses",
    "Retry": "options",
    "Tls": "options",
    "VersionStatus": "responses",
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
