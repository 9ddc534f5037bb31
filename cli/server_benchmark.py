"""Load on a served model, for `attnexport benchmark --server`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, check_size
from attnexport.workflows.connection import Connection

from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.core import Arrays, Signature
    from attnexport.serving.load import LoadLevel


def benchmark_server(terminal: Terminal, connection: Connection, options: dict[str, Any]) -> None:
    """Print latency and throughput for each number of callers.

    Args:
        terminal: Where.
        connection: The server and the model.
        options: Those of the command.
    """
    check_size("batch", options["batch"])
    for level in options["concurrency"]:
        check_size("concurrency", level, most=1024)
    from attnexport.serving import ClientRunner, Retry
    from attnexport.serving.load import closed_loop

    # A call that is tried again would hide the failure and count as a slow answer.
    with terminal.steps() as on_step, connection.client(Retry(attempts=1)) as client:
        on_step(f"asking {connection.first_server}")
        where = {"version": options["version"], "label": options["label"]}
        runner = ClientRunner(client, **where)
        signature = _signature(runner.signatures, options["signature"], connection.first_server)
        inputs = _inputs(signature, options)

        def call() -> object:
            return client.predict(inputs, signature=signature.name, **where)

        call()  # what a first call costs is not load
        levels = []
        for level in options["concurrency"]:
            on_step(f"{level} at once for {options['seconds']:g} s")
            levels.append(closed_loop(call, level, options["seconds"]))
    document = {
        "servers": list(connection.servers),
        "model": connection.model,
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
