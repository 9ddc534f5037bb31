"""Export Keras models to TensorFlow Serving and TFLite, and prove that they compute the same.

Names load on first use, so that `import attnexport as ax` loads neither TensorFlow nor numpy.
"""

import sys

# `python -m attnexport` puts the working directory first on the path, and a json.py there would be imported. Other
# programs started with -m keep theirs: while Python looks for the module, argv is "-m" and the words after its name.
if (
    sys.argv[:1] == ["-m"]
    and not sys.flags.safe_path
    and sys.orig_argv[-len(sys.argv)].removeprefix("-m").partition(".")[0] == __name__
):
    del sys.path[0]

from typing import TYPE_CHECKING

from .core.lazy import lazy_names

if TYPE_CHECKING:
    from .core.progress import show_progress
    from .core.signature import TensorSpec
    from .exporter import AttentionConcatLayer, MultiHeadAttentionConcat, build_model, load_model
    from .parity import Limits
    from .serving import AsyncClient, Client
    from .workflows.benchmark import benchmark
    from .workflows.connection import Connection
    from .workflows.conversion_search import SearchOptions
    from .workflows.convert import convert
    from .workflows.deploy import deploy
    from .workflows.export import export_saved_model
    from .workflows.inspect import inspect
    from .workflows.metadata import metadata
    from .workflows.predict import predict
    from .workflows.serve import serve
    from .workflows.serve_settings import ServeSettings
    from .workflows.server_benchmark import benchmark_server
    from .workflows.status import status
    from .workflows.validate import validate

    __version__: str

_HOMES = {
    "AsyncClient": "serving",
    "AttentionConcatLayer": "exporter",
    "Client": "serving",
    "Connection": "workflows.connection",
    "Limits": "parity",
    "MultiHeadAttentionConcat": "exporter",
    "SearchOptions": "workflows.conversion_search",
    "ServeSettings": "workflows.serve_settings",
    "TensorSpec": "core",
    "benchmark": "workflows.benchmark",
    "benchmark_server": "workflows.server_benchmark",
    "build_model": "exporter",
    "convert": "workflows.convert",
    "deploy": "workflows.deploy",
    "export_saved_model": "workflows.export",
    "inspect": "workflows.inspect",
    "load_model": "exporter",
    "metadata": "workflows.metadata",
    "predict": "workflows.predict",
    "serve": "workflows.serve",
    "show_progress": "core.progress",
    "status": "workflows.status",
    "validate": "workflows.validate",
}

__all__ = [
    "AsyncClient",
    "AttentionConcatLayer",
    "Client",
    "Connection",
    "Limits",
    "MultiHeadAttentionConcat",
    "SearchOptions",
    "ServeSettings",
    "TensorSpec",
    "__version__",
    "benchmark",
    "benchmark_server",
    "build_model",
    "convert",
    "deploy",
    "export_saved_model",
    "inspect",
    "load_model",
    "metadata",
    "predict",
    "serve",
    "show_progress",
    "status",
    "validate",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    _load, _ = lazy_names(__name__, _HOMES)

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("attnexport")
        return _load(name)

    def __dir__() -> list[str]:
        return __all__
