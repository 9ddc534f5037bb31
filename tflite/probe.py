"""Runs a .tflite in a child process, so that a crash of the interpreter is an error and not the end."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnexport.core.child_process import Child
from attnexport.core.errors import ContentError, GateError
from attnexport.core.process import peak_memory_bytes
from attnexport.core.runner import RecordedRunner, batched
from attnexport.core.signature import Arrays, Signature

from .runner import TFLiteRunner


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


def probe(file: Path, cases: Sequence[tuple[str, Arrays]]) -> Probe:
    """Load a .tflite in a child process and run it.

    Args:
        file: The .tflite.
        cases: Signature and inputs `[n, ...]` by name.

    Raises:
        GateError: if it does not load or run, crashes the process, or hangs.
    """
    [result] = probe_all([file], cases)
    if isinstance(result, GateError):
        raise result
    return result


def probe_all(files: Sequence[Path], cases: Sequence[tuple[str, Arrays]]) -> list[Probe | GateError]:
    """Probe several files in one child process, or if one of them fails, each in its own.

    The peak of memory is that of all files so far.
    """
    with tempfile.TemporaryDirectory() as name, Child(running="the interpreter") as child:
        directory = Path(name)
        for number, (_, inputs) in enumerate(cases):
            np.savez(directory / f"{number}.npz", **inputs)  # type: ignore[arg-type]
        try:
            reports = child.call(run_files, list(files), directory, [signature for signature, _ in cases])
        except ContentError as error:
            problem = str(error)
        else:
            return [_read(directory / str(number), report, cases) for number, report in enumerate(reports)]
    if len(files) > 1:
        return [each for file in files for each in probe_all([file], cases)]
    return [GateError(problem.replace(f"{files[0]} ", "it ").replace(f"{files[0]}: ", ""))]


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
        with np.load(directory / f"{number}.npz") as inputs:
            np.savez(target / f"{number}.npz", **batched(runner, dict(inputs), signature=signature))  # type: ignore[arg-type]
    raw = TFLiteRunner(file, raw=True)
    return _Report(tuple(runner.signatures.values()), tuple(raw.signatures.values()), peak_memory_bytes())


def _read(directory: Path, report: _Report, cases: Sequence[tuple[str, Arrays]]) -> Probe:
    outputs = RecordedRunner({each.name: each.with_free_batch() for each in report.signatures})
    for number, (signature, inputs) in enumerate(cases):
        with np.load(directory / f"{number}.npz") as arrays:
            outputs.record(inputs, signature, dict(arrays))
    return Probe(outputs, {each.name: each for each in report.raw_signatures}, report.peak_memory_bytes)
