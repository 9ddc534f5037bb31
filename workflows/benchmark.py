"""`benchmark`: latency, size and memory of artifacts, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, ContentError, ModelError, check_size
from attnexport.core.progress import Progress, silent

from .benchmark_result import ArtifactBenchmark, BenchmarkResult

if TYPE_CHECKING:
    import keras

    from attnexport.core import Runner, Signature

    from .artifacts import ArtifactPath
    from .benchmark_inputs import Call

DEFAULT_SECONDS, MAX_SECONDS = 3.0, 86_400.0
DEFAULT_ROUNDS, MIN_ROUNDS = 200, 3
_LEAST = 20  # calls of each, even if a slow model needs longer for them than it should take


def benchmark(
    artifacts: str | Path | keras.Model | Sequence[str | Path | keras.Model],
    *,
    seconds: float = DEFAULT_SECONDS,
    threads: int = 1,
    rounds: int = DEFAULT_ROUNDS,
    imports: Sequence[str] = (),
    trust: bool = False,
    progress: Progress = silent,
) -> BenchmarkResult:
    """Measure artifacts side by side: one call of each in turn, on the same generated samples.

    Free dimensions take the size that another artifact fixes; otherwise the batch is 1 and any other dimension 32.

    Args:
        artifacts: Paths of .tflite files, SavedModels, .keras files and export directories, an export standing for all
            artifacts of its newest version; or Keras models.
        seconds: Seconds the calls may take in total; above 0, at most a day.
        threads: Threads of each artifact.
        rounds: Calls of each artifact at most; at least 3.
        imports: Modules that register the custom layers of .keras files.
        trust: Import the modules that the export names, even if it was made elsewhere.
        progress: Called with what is being done.

    Raises:
        ArgumentError: if an argument is invalid, or a path or module does not exist.
        ContentError: if an artifact does not load, or fails in the child process that measures its memory.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="small")
        >>> result = benchmark(model, rounds=3)
        >>> [(row.artifact, row.latency.calls) for row in result.artifacts]
        [('small', 3)]
    """
    check_seconds(seconds)
    check_size("threads", threads)
    check_size("rounds", rounds, least=MIN_ROUNDS)
    sources: list[Any] = list(artifacts) if isinstance(artifacts, list | tuple) else [artifacts]
    if not sources:
        raise ArgumentError("there is nothing to measure; name at least one artifact")
    progress("loading")
    subjects = _subjects(sources)
    from attnexport.store.trust import trusting

    with trusting(trust), ExitStack() as stack:
        return _measure(subjects, seconds, threads, rounds, tuple(imports), progress, stack)


def check_seconds(seconds: float) -> None:
    """Refuse a time to measure for that is not above 0 and at most a day.

    Raises:
        ArgumentError: naming it.
    """
    if not 0 < seconds <= MAX_SECONDS or math.isnan(seconds):
        raise ArgumentError(f"--seconds must be above 0 and at most a day; received {seconds}")


def _subjects(sources: Sequence[Any]) -> dict[str, ArtifactPath | Any]:
    """What is measured, by name: artifacts on disk, and Keras models in memory."""
    from .artifacts import artifacts_of, find_artifact

    subjects: dict[str, ArtifactPath | Any] = {}
    for source in sources:
        if isinstance(source, str | Path):
            located = find_artifact(Path(source))
            parts = artifacts_of(located.path) if located.kind == "export" else [located]
            subjects |= {str(part.path): part for part in parts}
        else:
            name, number = source.name, 1
            while name in subjects:
                number += 1
                name = f"{source.name} ({number})"
            subjects[name] = source
    return subjects


def _measure(
    subjects: Mapping[str, ArtifactPath | Any],
    seconds: float,
    threads: int,
    rounds: int,
    imports: tuple[str, ...],
    progress: Progress,
    stack: ExitStack,
) -> BenchmarkResult:
    from attnexport.core.latency import measure
    from attnexport.store.files import size_of

    from .artifacts import ArtifactPath, bind_threads, open_keras, open_runner
    from .benchmark_inputs import choose_signature, differences, same_calls

    kinds = {name: each.kind if isinstance(each, ArtifactPath) else "keras" for name, each in subjects.items()}
    bound = all(kind == "tflite" for kind in kinds.values()) or bind_threads(threads)

    def opened(subject: ArtifactPath | Any) -> Runner:
        on_disk = isinstance(subject, ArtifactPath)
        runner = open_runner(subject, threads=threads, imports=imports) if on_disk else open_keras(subject)
        return stack.enter_context(closing(runner))

    # A .tflite is not loaded here before a child process has run it: a damaged file may crash the process.
    runners = {name: opened(each) for name, each in subjects.items() if kinds[name] != "tflite"}
    signatures = [
        choose_signature(runners[name].signatures) if name in runners else _tflite_signature(each.path)
        for name, each in subjects.items()
    ]
    calls = dict(zip(subjects, same_calls(signatures), strict=True))
    on_disk = {name: each for name, each in subjects.items() if isinstance(each, ArtifactPath)}
    memory: dict[str, int] = {}
    for done, (name, each) in enumerate(on_disk.items()):
        progress("measuring memory", done=done, total=len(on_disk))
        memory[name] = _peak_memory(each, calls[name], threads, imports)
    progress("measuring latency")
    runners |= {name: opened(each) for name, each in subjects.items() if name not in runners}
    latencies = measure(
        {name: _bound_call(runners[name], call) for name, call in calls.items()},
        rounds=rounds,
        seconds=seconds,
        least=_LEAST,
    )
    per_sample = {name: latency.p50_ms / calls[name].samples for name, latency in latencies.items()}
    first = next(iter(per_sample.values()))
    rows = tuple(
        ArtifactBenchmark(
            name,
            kinds[name],
            call.samples,
            call.shapes,
            latencies[name],
            per_sample[name],
            first / per_sample[name],
            threads if kinds[name] == "tflite" or bound else None,
            size_of(on_disk[name].path) if name in on_disk else None,
            memory.get(name),
        )
        for name, call in calls.items()
    )
    return BenchmarkResult(threads, rows, tuple(differences(calls)))


def _tflite_signature(path: Path) -> Signature:
    """Read from the file, without the interpreter."""
    from attnexport.tflite.graph import read_graph
    from attnexport.tflite.runner import read_file

    from .benchmark_inputs import choose_signature

    content = read_file(path)
    try:
        graph = read_graph(content)
        return choose_signature({name: graph.signature(name) for name in graph.signatures})
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _bound_call(runner: Runner, call: Call) -> Callable[[], object]:
    inputs = call.inputs(runner.signatures)
    return lambda: runner.run(inputs, call.signature)


def _peak_memory(artifact: ArtifactPath, call: Call, threads: int, imports: tuple[str, ...]) -> int:
    """Peak memory in bytes of a child process that loads the artifact and runs it once."""
    from attnexport.core.child_process import Child
    from attnexport.core.user_modules import import_modules
    from attnexport.store.trust import check_modules

    from .run_once import run_once

    check_modules(artifact.imports, artifact.path, imports)
    modules = import_modules((*imports, *artifact.imports)) if artifact.kind == "keras" else ()
    try:
        with Child() as child:
            return child.call(run_once, replace(artifact, imports=()), call, threads, modules)
    except ContentError as error:
        message = str(error).replace(f"{artifact.path} ", "it ").replace(f"{artifact.path}: ", "")
        raise ModelError(f"{artifact.path} does not run in a process of its own: {message}") from error
