"""Latency of artifacts side by side, for `attnexport benchmark`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ModelError, first_line

from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.core import Runner
    from attnexport.core.latency import Latency

    from .artifacts import FoundArtifact


@dataclass(frozen=True)
class _Row:
    """One artifact: latency of a call, its size, and the peak memory of a process that loads and runs it."""

    artifact: str
    kind: str
    latency: Latency
    size_bytes: int
    peak_memory_bytes: int


def benchmark_artifacts(terminal: Terminal, options: dict[str, Any]) -> None:
    """Print latency, size and memory of each artifact.

    Args:
        terminal: Where.
        options: Those of the command.
    """
    threads, rounds, seconds = options["threads"], options["rounds"], options["seconds"]
    imports: tuple[str, ...] = options["imports"]
    with terminal.steps() as on_step, ExitStack() as stack:
        on_step("loading")
        from attnexport.core.files import size_of
        from attnexport.core.latency import measure
        from attnexport.exporter.models import import_modules

        from .artifacts import artifacts_of, find_artifact, open_runner

        import_modules(imports)
        found = [find_artifact(path) for path in dict.fromkeys(map(Path, options["artifacts"]))]
        flat = [part for each in found for part in (artifacts_of(each.path) if each.kind == "export" else [each])]
        calls: dict[str, Callable[[], object]] = {}
        for each in flat:
            runner = stack.enter_context(closing(open_runner(each, threads=threads)))
            calls[str(each.path)] = _call(runner)
        on_step("measuring")
        latencies = measure(calls, rounds=rounds, seconds=seconds)
        on_step("measuring memory")
        rows = [
            _Row(str(each.path), each.kind, latencies[str(each.path)], size_of(each.path), _peak_memory(each, imports))
            for each in flat
        ]
    document = {"threads": threads, "artifacts": [asdict(row) for row in rows]}
    terminal.result(document, lambda console: _show(console, rows))


def _call(runner: Runner) -> Callable[[], object]:
    from attnexport.core import DEFAULT_SIGNATURE, synthetic_samples

    signature = runner.signatures.get(DEFAULT_SIGNATURE) or next(iter(runner.signatures.values()))
    count = (signature.fixed_batch or 1) if signature.is_batched else None
    inputs = synthetic_samples(signature.inputs, count, free_size=32).inputs
    return lambda: runner.run(inputs, signature.name)


def _peak_memory(artifact: FoundArtifact, imports: tuple[str, ...]) -> int:
    """Of a child process that loads the artifact and runs it once, in bytes."""
    words = [sys.executable, "-m", "attnexport.cli.artifact_benchmark", artifact.kind, str(artifact.path), *imports]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    if done.returncode:
        raise ModelError(f"{artifact.path} does not run in a process of its own: {first_line(Exception(done.stderr))}")
    return int(json.loads(done.stdout.splitlines()[-1]))


def _show(console: Console, rows: list[_Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("p50", "p90", "p99", "speed", "size", "memory", "artifact"):
        table.add_column(title, overflow="fold", justify="left" if title == "artifact" else "right")
    first = rows[0].latency.p50_ms
    for row in rows:
        latency = row.latency
        table.add_row(
            *(f"{each:.3f} ms" for each in (latency.p50_ms, latency.p90_ms, latency.p99_ms)),
            f"{first / latency.p50_ms:.2f}",
            f"{row.size_bytes / 1000:,.0f} kB",
            f"{row.peak_memory_bytes / 1e6:,.0f} MB",
            Text(row.artifact),
        )
    console.print(table)
    console.print(Text(f"\nSpeed is over that of {rows[0].artifact}, {rows[0].latency.calls} calls each, interleaved."))


def _child(kind: Any, path: str, *imports: str) -> None:
    from attnexport.core.process import peak_memory_bytes

    from .artifacts import FoundArtifact, open_runner

    if imports:
        from attnexport.exporter.models import import_modules

        import_modules(imports)
    with closing(open_runner(FoundArtifact(kind, Path(path)))) as runner:
        _call(runner)()
    sys.stdout.write(f"\n{peak_memory_bytes()}\n")


if __name__ == "__main__":
    _child(*sys.argv[1:])
