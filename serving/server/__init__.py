"""The embedded server: TF Serving's gRPC and REST API over models that a loader loads.

Theory of operation
===================

**Parts.** A `Server` owns three things: a `ModelManager`, which keeps the versions of every model; a `DataPlane`,
which answers requests from them and knows no transport; and two edges, `GrpcEdge` and `RestEdge`, which translate
between bytes and the data plane. What can be loaded is decided by the `ModelLoader` that is passed in: nothing here
imports TensorFlow or LiteRT.

**A request.** An edge decodes the request and calls the data plane. The data plane asks the manager for the version
that the request names (by number, by label, or the newest), which is then *held* until the answer is made; checks the
request against the signature; and runs the model, directly or through the version's `Batcher`. Each refusal is a
`StatusError` with a canonical code, raised where it is found; each edge turns it into a gRPC status or an HTTP status
in one place.

**Threads.** As many gRPC requests run models as there are cores, or 64 with batching, where requests wait for each
other; a model computes in the thread of its request. Status, metadata, health checks and reloads have threads of their
own, so that they wait for no model. gRPC hands a call over before its message has come, so each of these pools
(`Workers`) grows while clients are slow to send, and calls that send nothing are ended; so are those whose replies
nobody reads (`Replies`). REST runs uvicorn's event loop in one thread and models in a pool; models that were measured
to be quick (`Pace`) run in the loop itself. One thread polls the base paths, loads new versions and retires old ones.
Each retired version has a thread that waits until nobody holds it. With batching, each version has the threads that run
its batches.

**Locks.** Requests take a version's own, for the moment of `acquire` and `release`, and that of the unread replies:
what they read of a model (`ServedVersions`) is replaced whole. Everything that changes the set of versions (a poll, a
reload, the end) holds the manager's one lock, so these happen one at a time, and a reload waits until its versions have
loaded.

**The life of a version.** `TRANSITIONS` in versions.py is the table that the code follows:

    START ---LOAD--> LOADING ---LOADED--> AVAILABLE ---RETIRE--> UNLOADING ---FREE--> END
                     LOADING ---LOAD--> LOADING   another try
                     LOADING ---FAIL--> END       with the code and message of the failure
    START, LOADING ---CANCEL--> END               no longer wanted

A version is found by a scan of its base path, and waits there until its files stop changing. It is loaded, its warm-up
records are replayed, and only then requests see it. New versions load before old ones retire, and the last available
version stays until another one is available or none is wanted. A version that failed is tried again when its files
change. Versions that ended are remembered, so that a status request can say how.

**The end.** `Server.stop` lets both edges refuse new requests and waits, for a grace period, for those that run; then
it retires every version. A call that never returns keeps its version and its thread, and `stop` returns False.
"""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .batching import BatchingOptions
    from .configuration import ModelConfig, VersionPolicy
    from .grpc_edge import GrpcOptions
    from .loading import LoadedModel, ModelLoader
    from .rest_app import RestOptions
    from .server import Server, ServerOptions
    from .status import Code, StatusError

_HOMES = {
    "BatchingOptions": "batching",
    "Code": "status",
    "GrpcOptions": "grpc_edge",
    "LoadedModel": "loading",
    "ModelConfig": "configuration",
    "ModelLoader": "loading",
    "RestOptions": "rest_app",
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
