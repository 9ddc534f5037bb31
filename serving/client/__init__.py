"""Clients of TF Serving over gRPC: plans of what a call does, carried out by a blocking and an asyncio client."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .aio import AsyncClient
    from .grpc_transport import AsyncGrpcTransport, GrpcTransport
    from .inputs import Inputs
    from .mock import MockTransport
    from .operations import InferenceResult
    from .options import ClientOptions, Retry, Tls
    from .responses import ClassScore, ModelMetadata, Prediction, VersionStatus
    from .runner import ClientRunner
    from .sync import Client
    from .transport import AsyncTransport, Call, ConcurrentTransport, PendingReply, Transport

_HOMES = {
    "AsyncClient": "aio",
    "AsyncGrpcTransport": "grpc_transport",
    "AsyncTransport": "transport",
    "Call": "transport",
    "ClassScore": "responses",
    "Client": "sync",
    "ClientOptions": "options",
    "ClientRunner": "runner",
    "ConcurrentTransport": "transport",
    "GrpcTransport": "grpc_transport",
    "InferenceResult": "operations",
    "Inputs": "inputs",
    "MockTransport": "mock",
    "ModelMetadata": "responses",
    "PendingReply": "transport",
    "Prediction": "responses",
    "Retry": "options",
    "Tls": "options",
    "Transport": "transport",
    "VersionStatus": "responses",
}

__all__ = [
    "AsyncClient",
    "AsyncGrpcTransport",
    "AsyncTransport",
    "Call",
    "ClassScore",
    "Client",
    "ClientOptions",
    "ClientRunner",
    "ConcurrentTransport",
    "GrpcTransport",
    "InferenceResult",
    "Inputs",
    "MockTransport",
    "ModelMetadata",
    "PendingReply",
    "Prediction",
    "Retry",
    "Tls",
    "Transport",
    "VersionStatus",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
