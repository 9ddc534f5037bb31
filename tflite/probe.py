"""Runs a .tflite in a child process, so that a crash of the interpreter is an error and not the end."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from attnexport.core.child_process import Child
from attnexport.core.errors import AttnexportError, ContentError, GateError, ModelError, ProcessError, SamplesError
from attnexport.core.mapped import write_npz
from attnexport.core.process import peak_memory_bytes
from attnexport.core.runner import RecordedRunner, batched
from attnexport.core.samples import read_arrays, synthetic_samples
from attnexport.core.signature import Arrays, Signature

from .graph import read_graph
from .runner import TFLiteRunner, read_file

_RUN_SECONDS = 120.0  # to load a file and run each signature once
_IDLE_SECONDS = 10.0  # after which a child without work ends
_FREE_SIZE = 32  # of dimensions that the file leaves free, apart from the batch


@dataclass(frozen=True)
class Probe:
    """What a child process computed with a .tflite.

    Attributes:
        outputs: The outputs, as a Runner over the given cases, batch free.
        signatures: The signatures as they stand in the file, with quantized types and fixed batch.
        peak_memory_bytes: Peak memory of the child, Python and the interpreter included.
    """

    outputs: RecordedRunner
    signatures: dict[str, Signature]
    peak_memory_bytes: int


@dataclass(frozen=True)
class _Report:
    """What the child says of a file; its outputs are beside, in `NUMBER.npz` for each case."""

    signatures: tuple[Signature, ...]
    raw_signatures: tuple[Signature, ...]
    peak_memory_bytes: int


def probe(file: Path, cases: Sequence[tuple[str, Arrays]], child: Child | None = None) -> Probe:
    """Load a .tflite in a child process and run it.

    Args:
        file: The .tflite.
        cases: Signature and inputs `[n, ...]` by name.
        child: A child process to run it in; one of its own if None.

    Raises:
        GateError: if it does not load or run, crashes the process, or hangs.
    """
    [result] = probe_all([file], cases, child)
    if isinstance(result, GateError):
        raise result
    return result


def interpreter_child() -> Child:
    """A child process for probes: it starts with the first of them."""
    return Child(running="the interpreter")


def probe_all(
    files: Sequence[Path], cases: Sequence[tuple[str, Arrays]], child: Child | None = None
) -> list[Probe | GateError]:
    """Probe several files in one child process, or if one of them fails, each in its own.

    The peak of memory is that of all files so far in that process.
    """
    if not files:
        return []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        child = child or stack.enter_context(interpreter_child())
        for number, (_, inputs) in enumerate(cases):
            write_npz(directory / f"{number}.npz", inputs)
        try:
            reports = child.call(run_files, list(files), directory, [signature for signature, _ in cases])
        except ContentError as error:
            problem = str(error)
        else:
            return [_read(directory / str(number), report, cases) for number, report in enumerate(reports)]
    if len(files) > 1:
        return [each for file in files for each in probe_all([file], cases)]
    return [GateError(problem.replace(f"{files[0]} ", "it ").replace(f"{files[0]}: ", ""))]


class RunCheck:
    """Loads .tflite files in a child process and runs them once there, so that a crash is an error.

    The child is kept for further files, and ends with `close`, or when it had nothing to do for a while.

    Example:
        >>> _ = Path("model.tflite").write_bytes(b"....TFL3")
        >>> with RunCheck() as check:
        ...     try:
        ...         check(Path("model.tflite"))
        ...     except ModelError as error:
        ...         print(str(error)[:38])
        model.tflite is a damaged .tflite file
    """

    def __init__(self) -> None:
        self._child = Child(running="the interpreter", timeout=_RUN_SECONDS)
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __call__(self, file: Path, *, by_tensors: bool = False, compiled: bool = False) -> None:
        """Run each signature of a file once, on generated samples.

        Args:
            file: The .tflite.
            by_tensors: Run a file without signatures, too, as `TFLiteRunner` does.
            compiled: Run it in CompiledModel as well.

        Raises:
            ArgumentError: if the file does not exist.
            ModelError: if it does not load.
            GateError: if it crashes the process, or hangs.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            try:
                self._run(file, by_tensors, compiled)
            except ProcessError as error:
                problem = str(error).removeprefix("it ")
                raise GateError(f"{file} is damaged: run in a child process, it {problem}; convert it again") from error
            finally:
                self._timer = threading.Timer(_IDLE_SECONDS, self.close)
                self._timer.daemon = True
                self._timer.start()

    def _run(self, file: Path, by_tensors: bool, compiled: bool) -> None:
        reused = self._child.pid is not None
        try:
            self._child.call(run_once, file, by_tensors, compiled)
        except ProcessError:
            if not reused:
                raise
            self._child.call(run_once, file, by_tensors, compiled)  # the fault may be of a file before

    def close(self) -> None:
        """End the child; another call starts one again."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def run_once(file: Path, by_tensors: bool, compiled: bool) -> None:
    """Load a file and run each signature once, in the child."""
    try:
        read_graph(read_file(file))
    except ModelError as error:
        raise ModelError(f"{file} is {error}") from error
    runners = [TFLiteRunner(file, by_tensors=by_tensors)]
    if compiled:
        from .compiled_model import CompiledModelRunner

        runners.append(CompiledModelRunner(file))
    for runner in runners:
        for name, signature in runner.signatures.items():
            with suppress(AttnexportError):  # generated samples may not suit it, which is no damage
                samples = synthetic_samples(signature.inputs, None, free_size=_FREE_SIZE)
                batch = 1 if signature.is_batched and signature.fixed_batch is None else None
                inputs = {key: array[:batch] for key, array in samples.inputs.items()}
                runner.run(inputs, name)


def run_files(files: list[Path], directory: Path, signatures: list[str]) -> list[_Report]:
    """Run files, in the child.

    Args:
        files: The .tflite files.
        directory: Holds the inputs of each case as `NUMBER.npz`; the outputs of the first file become `0/NUMBER.npz`.
        signatures: The signature of each case.
    """
    return [_run(file, directory, signatures, directory / str(number)) for number, file in enumerate(files)]


def _run(file: Path, directory: Path, signatures: Sequence[str], target: Path) -> _Report:
    target.mkdir()
    runner = TFLiteRunner(file)
    for number, signature in enumerate(signatures):
        inputs = read_arrays(directory / f"{number}.npz")
        write_npz(target / f"{number}.npz", batched(runner, inputs, signature=signature))
    raw = TFLiteRunner(file, raw=True)
    return _Report(tuple(runner.signatures.values()), tuple(raw.signatures.values()), peak_memory_bytes())


def _read(directory: Path, report: _Report, cases: Sequence[tuple[str, Arrays]]) -> Probe:
    outputs = RecordedRunner({each.name: each.with_free_batch() for each in report.signatures})
    for number, (signature, inputs) in enumerate(cases):
        try:  # a file that damages the child may have written it
            arrays = read_arrays(directory / f"{number}.npz")
        except SamplesError as error:
            raise GateError(f"the interpreter's outputs cannot be read: {error}") from error
        outputs.record(inputs, signature, arrays)
    return Probe(outputs, {each.name: each for each in report.raw_signatures}, report.peak_memory_bytes)
