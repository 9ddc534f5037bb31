"""The embedded server: TF Serving's gRPC and REST API over models that a loader loads."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .batching import BatchingOptions
    from .configuration import ModelConfig, VersionPolicy
    from .grpc_edge import GrpcOptions
    from .loading import LoadedModel, ModelLoader
    from .rest_edge import RestOptions
    from .server import Server, ServerOptions
    from .status import Code, StatusError

_HOMES = {
    "BatchingOptions": "batching",
    "Code": "status",
    "GrpcOptions": "grpc_edge",
    "LoadedModel": "loading",
    "ModelConfig": "configuration",
    "ModelLoader": "loading",
    "RestOptions": "rest_edge",
    "Server": "server",
    "ServerOptions": "server",
    "StatusError": "status",
    "VersionPolicy": "configuration",
}

__all__ = [
    "BatchingOptions",
    "Code",
    "GrpcOptions",
    "LoadedModel",
    "ModelConfig",
    "ModelLoader",
    "RestOptions",
    "Server",
    "ServerOptions",
    "StatusError",
    "VersionPolicy",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
