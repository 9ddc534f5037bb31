"""Latency of artifacts side by side, for `attnexport benchmark`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ContentError, ModelError
from attnexport.core.process import peak_memory_bytes
from attnexport.core.user_modules import ModuleFile, import_modules, load_modules
from attnexport.workflows.benchmark_inputs import Call
from attnexport.workflows.sizes import kilobytes

from .artifacts import FoundArtifact, bind_threads, open_runner
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

    from attnexport.core import Runner, Signature
    from attnexport.core.latency import Latency


@dataclass(frozen=True)
class _Row:
    """One artifact.

    `samples` and `inputs` are of a call, `latency` of a call, too; `speed` is of a sample, over the first artifact's;
    `threads` is None where they are TensorFlow's own; memory is the peak of a process that loads and runs it.
    """

    artifact: str
    kind: str
    samples: int
    inputs: Mapping[str, Sequence[int]]
    latency: Latency
    p50_ms_per_sample: float
    speed: float
    threads: int | None
    size_bytes: int
    peak_memory_bytes: int


def benchmark_artifacts(terminal: Terminal, options: dict[str, Any]) -> None:
    """Print latency, size and memory of each artifact.

    Args:
        terminal: Where.
        options: Those of the command.
    """
    threads: int = options["threads"]
    imports: tuple[str, ...] = options["imports"]
    with terminal.steps() as on_step, ExitStack() as stack:
        on_step("loading")
        from attnexport.core.latency import measure
        from attnexport.workflows.benchmark_inputs import choose_signature, differences, same_calls

        from .artifacts import artifacts_of, find_artifact

        named = [find_artifact(path) for path in map(Path, options["artifacts"])]
        parts = [part for each in named for part in (artifacts_of(each.path) if each.kind == "export" else [each])]
        found = {str(each.path): each for each in parts}
        bound = all(each.kind == "tflite" for each in parts) or bind_threads(threads)
        # A .tflite is not loaded here before a process of its own has run it: a damaged one may take this one down.
        runners = {
            path: stack.enter_context(closing(open_runner(each, threads=threads, imports=imports)))
            for path, each in found.items()
            if each.kind != "tflite"
        }
        signatures = [
            choose_signature(runners[path].signatures) if path in runners else _tflite_signature(each.path)
            for path, each in found.items()
        ]
        calls = dict(zip(found, same_calls(signatures), strict=True))
        on_step("measuring memory")
        memory = {path: _peak_memory(each, calls[path], threads, imports) for path, each in found.items()}
        on_step("measuring")
        for path, each in found.items():
            if path not in runners:
                runners[path] = stack.enter_context(closing(open_runner(each, threads=threads)))
        latencies = measure(
            {path: _bound_call(runners[path], call) for path, call in calls.items()},
            rounds=options["rounds"],
            seconds=options["seconds"],
        )
    rows = _rows(found, calls, latencies, memory, threads if bound else None, threads)
    notes = differences(calls)
    for note in notes:
        terminal.note(note)
    document = {"threads": threads, "notes": notes, "artifacts": [asdict(row) for row in rows]}
    terminal.result(document, lambda console: _show(console, rows))


def _rows(
    found: Mapping[str, FoundArtifact],
    calls: Mapping[str, Call],
    latencies: Mapping[str, Latency],
    memory: Mapping[str, int],
    tensorflow_threads: int | None,
    threads: int,
) -> list[_Row]:
    from attnexport.store.files import size_of

    per_sample = {path: latency.p50_ms / calls[path].samples for path, latency in latencies.items()}
    first = next(iter(per_sample.values()))
    return [
        _Row(
            path,
            each.kind,
            calls[path].samples,
            calls[path].shapes,
            latencies[path],
            per_sample[path],
            first / per_sample[path],
            threads if each.kind == "tflite" else tensorflow_threads,
            size_of(each.path),
            memory[path],
        )
        for path, each in found.items()
    ]


def _tflite_signature(path: Path) -> Signature:
    """Read from the file, without the interpreter."""
    from attnexport.tflite.graph import read_graph
    from attnexport.tflite.runner import read_file
    from attnexport.workflows.benchmark_inputs import choose_signature

    content = read_file(path)
    try:
        graph = read_graph(content)
        return choose_signature({name: graph.signature(name) for name in graph.signatures})
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _bound_call(runner: Runner, call: Call) -> Callable[[], object]:
    inputs = call.inputs(runner.signatures)
    return lambda: runner.run(inputs, call.signature)


def _peak_memory(artifact: FoundArtifact, call: Call, threads: int, imports: tuple[str, ...]) -> int:
    """Of a child process that loads the artifact and runs it once, in bytes."""
    from attnexport.core.child_process import Child

    modules = import_modules((*artifact.imports, *imports)) if artifact.kind == "keras" else ()
    try:
        with Child() as child:
            return child.call(run_once, artifact, call, threads, modules)
    except ContentError as error:
        message = str(error).replace(f"{artifact.path} ", "it ").replace(f"{artifact.path}: ", "")
        raise ModelError(f"{artifact.path} does not run in a process of its own: {message}") from error


def run_once(artifact: FoundArtifact, call: Call, threads: int, modules: tuple[ModuleFile, ...]) -> int:
    """Load an artifact, run it once, and give the memory in bytes that this process took, which is to be a child."""
    load_modules(modules)
    if artifact.kind != "tflite":  # TensorFlow would be most of its memory
        bind_threads(threads)
    with closing(open_runner(replace(artifact, imports=()), threads=threads)) as runner:
        _bound_call(runner, call)()
    return peak_memory_bytes()


def _show(console: Console, rows: list[_Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    batches = len({row.samples for row in rows}) > 1
    shapes = len({str(sorted(list(shape)[1:] for shape in row.inputs.values())) for row in rows}) > 1
    table = Table(box=None, pad_edge=False)
    titles = ["p50", "p90", "p99", *["samples", "a sample"] * batches, "speed", *["inputs"] * shapes]
    for title in (*titles, "threads", "size", "memory", "artifact"):
        table.add_column(title, overflow="fold", justify="left" if title == "artifact" else "right")
    for row in rows:
        latency = row.latency
        table.add_row(
            *(f"{each:.3f} ms" for each in (latency.p50_ms, latency.p90_ms, latency.p99_ms)),
            *[str(row.samples), f"{row.p50_ms_per_sample:.3f} ms"] * batches,
            f"{row.speed:.2f}",
            *[Text(", ".join(str(list(shape)) for shape in row.inputs.values()))] * shapes,
            "TensorFlow's own" if row.threads is None else str(row.threads),
            kilobytes(row.size_bytes),
            f"{row.peak_memory_bytes / 1e6:,.0f} MB",
            Text(row.artifact),
        )
    console.print(table)
    of_what = "of a sample, " if batches else ""
    told = f"Speed is {of_what}over that of {rows[0].artifact}, {rows[0].latency.calls} calls each, interleaved."
    console.print(Text(f"\n{told}"))
