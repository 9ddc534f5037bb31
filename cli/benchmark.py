"""`attnexport benchmark`: artifacts side by side, or load on a server."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from attnexport.core.errors import ArgumentError
from attnexport.workflows.connection import Connection

from .artifact_benchmark import benchmark_artifacts
from .client_options import optional_connection_options, version_options
from .command import command
from .server_benchmark import benchmark_server
from .terminal import Terminal

# Options that only one of the two measurements has.
_OF_ARTIFACTS = ("threads", "rounds", "imports")
_OF_SERVERS = ("model", "version", "label", "signature", "source", "batch", "concurrency")


class _Levels(click.ParamType[Any]):
    """Whole numbers with commas between them."""

    name = "N,N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return value if isinstance(value, tuple) else tuple(int(each) for each in value.split(","))
        except ValueError:
            return self.fail(f"{value!r} is not a list of whole numbers such as 1,4,16", param, ctx)


@command("benchmark", example="attnexport benchmark export/classifier --threads 2")
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]...")
@click.option(
    "--seconds", type=float, default=3.0, show_default=True, help="How long each level of load, or all calls."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="That each artifact may use.")
@click.option("--rounds", type=click.IntRange(3), default=200, show_default=True, help="The most calls of an artifact.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="A module that registers your layers.")
@optional_connection_options
@version_options
@click.option("--signature", default="serving_default", show_default=True, help="Of the server: the one to call.")
@click.option("--input", "source", metavar="FILE", help="Samples to send to the server. [made up]")
@click.option("--batch", type=int, default=1, show_default=True, help="Samples in each call of the server.")
@click.option("--concurrency", type=_Levels(), default="1,2,4,8", show_default=True, help="Callers at once, in turn.")
def benchmark(terminal: Terminal, connection: Connection | None, /, **options: Any) -> None:
    """Measure artifacts side by side, or a served model under load.

    ARTIFACTS are .tflite files, SavedModel directories, .keras files and export directories, which stand for all
    artifacts of their newest version. One call of each takes its turn, on the same made-up samples: what one leaves
    free is as the others fix it, a batch of 1 and 32 steps where none does. Figures of one run compare; those of two
    runs need not.

    With --server instead, callers that each wait for their answer before they ask again; latencies are of whole calls.
    """
    context = click.get_current_context()
    if bool(options["artifacts"]) == (connection is not None):
        raise click.UsageError("benchmark measures either ARTIFACTS or --server HOST:PORT", context)
    if not 0 < options["seconds"] <= 86_400:
        raise ArgumentError(f"--seconds must be above 0 and at most a day; received {options['seconds']}")
    of_others = _OF_ARTIFACTS if connection else _OF_SERVERS
    for name in of_others:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = {"imports": "import", "source": "input"}.get(name, name)
            raise ArgumentError(f"--{option} is for {'artifacts' if connection else 'a server'}")
    if connection is None:
        benchmark_artifacts(terminal, options)
    else:
        benchmark_server(terminal, connection, options)
