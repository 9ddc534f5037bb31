"""`benchmark_server`: latency and throughput of a served model under load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, RefusedError, check_size, no_such
from attnexport.core.progress import Progress, silent
from attnexport.core.signature import DEFAULT_SIGNATURE

from .benchmark import DEFAULT_SECONDS, check_seconds
from .connection import Connection
from .result import Block, Line, Result, Table

if TYPE_CHECKING:
    from attnexport.core import Arrays, Signature
    from attnexport.serving.load import LoadLevel

    from .predict_inputs import Source

DEFAULT_CONCURRENCY = (1, 2, 4, 8)
MAX_CONCURRENCY = 1024


@dataclass(frozen=True)
class LoadResult(Result):
    """A served model under load. Latencies are of whole calls.

    Attributes:
        servers: The addresses that shared the calls.
        model: Name the model is served under.
        version: The version that replied, if the server says so.
        signature: The signature that was called.
        batch: Samples in a call.
        levels: Latency and throughput for each number of callers.
        notes: What was changed to make the samples fit.
    """

    servers: tuple[str, ...]
    model: str
    version: int | None
    signature: str
    batch: int
    levels: tuple[LoadLevel, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "servers": list(self.servers),
            "model": self.model,
            "version": self.version,
            "signature": self.signature,
            "batch": self.batch,
            "levels": [{**asdict(each), "throughput": each.throughput} for each in self.levels],
        }

    def blocks(self) -> Sequence[Block]:
        version = "" if self.version is None else f" version {self.version}"
        columns = ("callers", "answers/s", "p50 ms", "p90 ms", "p99 ms", "failures")
        rows = [
            (
                str(each.concurrency),
                f"{each.throughput:,.0f}",
                *(f"{value:.2f}" for value in (each.p50, each.p90, each.p99)),
                ", ".join(f"{kind} {count}" for kind, count in each.failures.items()) or "none",
            )
            for each in self.levels
        ]
        return [Line(f"{self.model}{version}, {self.signature}, batch {self.batch}\n"), Table(columns, rows, columns)]


def benchmark_server(
    connection: Connection,
    *,
    samples: str | Source | None = None,
    signature: str = DEFAULT_SIGNATURE,
    batch: int = 1,
    concurrency: Sequence[int] = DEFAULT_CONCURRENCY,
    seconds: float = DEFAULT_SECONDS,
    version: int | None = None,
    label: str | None = None,
    progress: Progress = silent,
) -> LoadResult:
    """Measure a served model under load: callers that each send the next request when they have their reply.

    Args:
        connection: The server and the model.
        samples: Samples to send, as for `predict`; generated if None.
        signature: The signature to call.
        batch: Samples in a call; ignored if the signature fixes its batch.
        concurrency: Numbers of callers, measured one after another.
        seconds: Seconds for each of them; above 0, at most a day.
        version: The version; the newest if None.
        label: The version with this label, instead of `version`.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if an argument is invalid, or a file does not exist.
        SamplesError: if the samples do not fit the signature.
        ServingError: if the server is unreachable, or refuses every call.

    Example:
        >>> from attnexport.core.errors import UnavailableError
        >>> try:
        ...     benchmark_server(Connection("classifier", "127.0.0.1:1", timeout=0.5))
        ... except UnavailableError as error:
        ...     print(error.address)
        127.0.0.1:1
    """
    check_seconds(seconds)
    check_size("batch", batch)
    for level in concurrency:
        check_size("concurrency", level, most=MAX_CONCURRENCY)
    from attnexport.serving import ClientRunner, Retry
    from attnexport.serving.load import closed_loop

    from .predict_inputs import open_source

    source = None if samples is None else open_source(samples)
    # A retried call would hide its failure and count as a slow reply.
    with connection.client(Retry(attempts=1)) as client:
        progress(f"querying {connection.first_server}")
        runner = ClientRunner(client, version=version, label=label)
        if signature not in runner.signatures:
            raise RefusedError(f"{connection.first_server}: {no_such('signature', signature, runner.signatures)}")
        spec = runner.signatures[signature]
        inputs, notes = _inputs(spec, source, batch)

        def call() -> object:
            return client.predict(inputs, signature=signature, version=version, label=label)

        call()  # a first call has costs of its own
        levels = []
        for done, level in enumerate(concurrency):
            progress(f"{level} callers for {seconds:g} s", done=done, total=len(concurrency))
            levels.append(closed_loop(call, level, seconds))
    servers = (connection.servers,) if isinstance(connection.servers, str) else tuple(connection.servers)
    return LoadResult(servers, connection.model, runner.version, signature, batch, tuple(levels), notes)


def _inputs(signature: Signature, source: Source | None, batch: int) -> tuple[Arrays, tuple[str, ...]]:
    from attnexport.core import synthetic_samples

    from .predict_inputs import read_inputs

    size = signature.fixed_batch or batch
    if source is None:
        return synthetic_samples(signature.inputs, size if signature.is_batched else None).inputs, ()
    inputs, notes = read_inputs(source, signature)
    count = len(next(iter(inputs.values())))
    if count < size:
        where = source if isinstance(source, Path) else "the input"
        raise ArgumentError(f"--batch-size {size} is more than the {count} samples in {where}")
    return {name: array[:size] for name, array in inputs.items()}, notes
