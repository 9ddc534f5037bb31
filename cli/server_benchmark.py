"""`attnexport benchmark --server`: load on a served model."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attnexport.core.errors import ArgumentError, check_size

from .client_options import client_options, connect, version_options
from .command import command
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.core import Arrays, Signature
    from attnexport.serving.load import LoadLevel


class _Levels(click.ParamType[Any]):
    """Whole numbers with commas between them."""

    name = "N,N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return value if isinstance(value, tuple) else tuple(int(each) for each in value.split(","))
        except ValueError:
            return self.fail(f"{value!r} is not a list of whole numbers such as 1,4,16", param, ctx)


@command("benchmark")
@click.argument("artifacts", nargs=-1, metavar="[ARTIFACT]...")
@partial(client_options, required=False)
@version_options
@click.option("--signature", default="serving_default", show_default=True, help="The signature to call.")
@click.option("--input", "source", metavar="FILE", help="Samples to send. [made up]")
@click.option("--batch", type=int, default=1, show_default=True, help="Samples in each call.")
@click.option("--concurrency", type=_Levels(), default="1,2,4,8", show_default=True, help="Callers at once, in turn.")
@click.option("--seconds", type=float, default=3.0, show_default=True, help="How long each number of callers calls.")
def benchmark(terminal: Terminal, **options: Any) -> None:
    """Measure a served model under load.

    Callers that each wait for their answer before they ask again; latencies are of whole calls.
    """
    if options["artifacts"] or not options["servers"]:
        context = click.get_current_context()
        raise click.UsageError("benchmark measures a server so far: --server HOST:PORT, and no ARTIFACT", context)
    benchmark_server(terminal, options)


def benchmark_server(terminal: Terminal, options: dict[str, Any]) -> None:
    """Print latency and throughput for each number of callers.

    Args:
        terminal: Where.
        options: Those of the command.
    """
    if options["model"] is None:
        raise ArgumentError("--server needs --model, the name that the model is served under")
    check_size("batch", options["batch"])
    for level in options["concurrency"]:
        check_size("concurrency", level, most=1024)
    if not 0 < options["seconds"] <= 86_400:
        raise ArgumentError(f"--seconds must be above 0 and at most a day; received {options['seconds']}")
    from attnexport.serving import ClientRunner, Retry
    from attnexport.serving.load import closed_loop

    # A call that is tried again would hide the failure and count as a slow answer.
    with terminal.steps() as on_step, connect(options, retry=Retry(attempts=1)) as client:
        on_step(f"asking {options['servers'][0]}")
        where = {"version": options["version"], "label": options["label"]}
        runner = ClientRunner(client, **where)
        signature = _signature(runner.signatures, options["signature"], options["servers"][0])
        inputs = _inputs(signature, options)

        def call() -> object:
            return client.predict(inputs, signature=signature.name, **where)

        call()  # what a first call costs is not load
        levels = []
        for level in options["concurrency"]:
            on_step(f"{level} at once for {options['seconds']:g} s")
            levels.append(closed_loop(call, level, options["seconds"]))
    document = {
        "servers": list(options["servers"]),
        "model": options["model"],
        "version": runner.version,
        "signature": signature.name,
        "batch": options["batch"],
        "levels": [{**asdict(each), "throughput": each.throughput} for each in levels],
    }
    terminal.result(document, lambda console: _show(console, document, levels))


def _signature(signatures: Any, name: str, address: str) -> Signature:
    from attnexport.core.errors import RefusedError, no_such

    if name not in signatures:
        raise RefusedError(f"{address}: {no_such('signature', name, signatures)}")
    found: Signature = signatures[name]
    return found


def _inputs(signature: Signature, options: dict[str, Any]) -> Arrays:
    from attnexport.core import load_samples, synthetic_samples

    size = signature.fixed_batch or options["batch"]
    if options["source"] is None:
        return synthetic_samples(signature.inputs, size if signature.is_batched else None).inputs
    samples = load_samples(Path(options["source"]), signature.inputs)
    if len(samples) < size:
        raise ArgumentError(f"--batch {size} is more than the {len(samples)} samples in {options['source']}")
    return samples.take(size).inputs


def _show(console: Console, document: dict[str, Any], levels: list[LoadLevel]) -> None:
    from rich.table import Table
    from rich.text import Text

    version = "" if document["version"] is None else f" version {document['version']}"
    console.print(Text(f"{document['model']}{version}, {document['signature']}, batch {document['batch']}\n"))
    table = Table(box=None, pad_edge=False)
    for title in ("callers", "answers/s", "p50 ms", "p90 ms", "p99 ms", "failures"):
        table.add_column(title, justify="right")
    for each in levels:
        failures = ", ".join(f"{kind} {count}" for kind, count in each.failures.items()) or "none"
        figures = (f"{value:.2f}" for value in (each.p50, each.p90, each.p99))
        table.add_row(str(each.concurrency), f"{each.throughput:,.0f}", *figures, failures)
    console.print(table)
