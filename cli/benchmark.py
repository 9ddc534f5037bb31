"""`attnexport benchmark`: artifacts side by side, or a served model under load."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from attnexport.core.errors import ArgumentError
from attnexport.workflows import benchmark as artifact_workflow
from attnexport.workflows import server_benchmark as server_workflow
from attnexport.workflows.benchmark import DEFAULT_ROUNDS, DEFAULT_SECONDS, MIN_ROUNDS
from attnexport.workflows.benchmark_result import BenchmarkResult
from attnexport.workflows.connection import Connection
from attnexport.workflows.server_benchmark import LoadResult

from .client_options import optional_connection_options, version_options
from .command import command
from .option_groups import grouped
from .terminal import Terminal

_ARTIFACT_OPTIONS = ("threads", "rounds", "imports")
_CONNECTION_OPTIONS = (
    *("servers", "model", "timeout", "tls", "tls_ca", "tls_cert", "tls_key", "tls_server_name", "headers"),
    "compression",
)
_LOAD_OPTIONS = ("version", "label", "signature", "samples", "batch_size", "concurrency")
_GROUPS = {
    "Artifacts": _ARTIFACT_OPTIONS,
    "Served model": (*_CONNECTION_OPTIONS[:2], *_LOAD_OPTIONS, *_CONNECTION_OPTIONS[2:]),
}
_SERVER_ONLY = ("model", *_LOAD_OPTIONS)


class _Levels(click.ParamType[Any]):
    """Whole numbers with commas between them."""

    name = "N,N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return value if isinstance(value, tuple) else tuple(int(each) for each in value.split(","))
        except ValueError:
            return self.fail(f"{value!r} is not a list of whole numbers such as 1,4,16", param, ctx)


@command(
    "benchmark",
    cls=grouped(_GROUPS),
    example="""
    attnexport benchmark export/classifier --threads 2
    attnexport benchmark --server 127.0.0.1:8500 --model digits --concurrency 8
    """,
    renamed={"--input": "--samples", "--batch": "--batch-size"},
)
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]...")
@click.option(
    "--threads", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Threads per artifact."
)
@click.option(
    "--rounds",
    metavar="N",
    type=click.IntRange(MIN_ROUNDS),
    default=DEFAULT_ROUNDS,
    show_default=True,
    help="Most calls of each artifact.",
)
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Module that registers your own layers.")
@optional_connection_options
@version_options
@click.option("--signature", metavar="NAME", default="serving_default", show_default=True, help="Signature to call.")
@click.option("--samples", metavar="FILE", help="Samples to send: .npz, .npy or .json. [generated]")
@click.option("--batch-size", type=int, metavar="N", default=1, show_default=True, help="Samples in each call.")
@click.option(
    "--concurrency",
    type=_Levels(),
    default="1,2,4,8",
    show_default=True,
    help="Numbers of concurrent callers, one after another.",
)
@click.option(
    "--seconds",
    metavar="SECONDS",
    type=float,
    default=DEFAULT_SECONDS,
    show_default=True,
    help="Seconds for all calls of artifacts, or for each number of callers.",
)
def benchmark(
    terminal: Terminal,
    connection: Connection | None,
    *,
    artifacts: tuple[str, ...],
    threads: int,
    rounds: int,
    imports: tuple[str, ...],
    version: int | None,
    label: str | None,
    signature: str,
    samples: str | None,
    batch_size: int,
    concurrency: tuple[int, ...],
    seconds: float,
) -> None:
    """Measure artifacts side by side, or a served model under load.

    ARTIFACTS are .tflite files, SavedModel directories, .keras files and export directories; an export stands for all
    artifacts of its newest version. They are called in turn, on the same generated samples. Free dimensions take the
    size another artifact fixes; otherwise batch 1, 32 steps. Compare figures of one run only.

    With --server, callers each send the next request when they have their reply. Latencies are of whole calls.
    """
    _check_options(bool(artifacts), connection is not None)
    result: BenchmarkResult | LoadResult
    with terminal.working() as progress:
        if connection is None:
            result = artifact_workflow.benchmark(
                artifacts, seconds=seconds, threads=threads, rounds=rounds, imports=imports, progress=progress
            )
        else:
            result = server_workflow.benchmark_server(
                connection,
                samples=samples,
                signature=signature,
                batch=batch_size,
                concurrency=concurrency,
                seconds=seconds,
                version=version,
                label=label,
                progress=progress,
            )
    for note in result.notes:
        terminal.note(note)
    terminal.show(result)


def _check_options(artifacts: bool, server: bool) -> None:
    """Refuse options of the other kind of measurement."""
    context = click.get_current_context()
    if artifacts == server:
        raise click.UsageError("benchmark measures either ARTIFACTS or --server HOST:PORT", context)
    for name in _ARTIFACT_OPTIONS if server else _SERVER_ONLY:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = "import" if name == "imports" else name.replace("_", "-")
            raise ArgumentError(f"--{option} works only with {'artifacts' if server else '--server'}")
