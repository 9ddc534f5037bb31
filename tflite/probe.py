"""Runs a .tflite in a process of its own, so that a crash of the interpreter is an answer and not the end.

    python -m attnexport.tflite.probe DIRECTORY FILE...

DIRECTORY holds `cases.json`, a list of signatures, and the inputs of each as `0.npz`, `1.npz`…; the outputs of the
first file are written as `0/0.npz`, `0/1.npz`…, with a `report.json`. What goes wrong is one line on stderr, and exit
code 3.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from attnexport.core.errors import AttnexportError, GateError, first_line
from attnexport.core.process import peak_memory_bytes
from attnexport.core.runner import RecordedRunner, batched
from attnexport.core.signature import Arrays, Signature

from .runner import TFLiteRunner

_FAILED = 3
_TIMEOUT = 600.0  # seconds; no model that is meant for a device needs them


@dataclass(frozen=True)
class Probe:
    """What a child process found.

    Attributes:
        answers: Its outputs, as a Runner over the cases that it was given, batch free.
        signatures: The signatures as they stand in the file, quantized types and fixed batch included.
        peak_memory_bytes: Of the child, Python and the interpreter included.
    """

    answers: RecordedRunner
    signatures: dict[str, Signature]
    peak_memory_bytes: int


@dataclass(frozen=True)
class Ended:
    """How a child process ended.

    Attributes:
        said: What it printed on stdout.
        problem: What went wrong, in words; None where nothing did.
        crashed: Whether it did not end by itself.
    """

    said: str
    problem: str | None = None
    crashed: bool = False


def run_child(
    module: str, *arguments: str, running: str = "its process", given: bytes = b"", timeout: float = _TIMEOUT
) -> Ended:
    """Run a module of ours in a process of its own.

    Args:
        module: With a `__main__` that says what goes wrong in one last line on stderr.
        arguments: Its arguments.
        running: What a crash takes down.
        given: On its stdin.
        timeout: In seconds; then it is killed.
    """
    words = [sys.executable, "-P", "-m", module, *arguments]
    try:
        done = subprocess.run(words, input=given, capture_output=True, check=False, timeout=timeout)  # noqa: S603
    except subprocess.TimeoutExpired:
        return Ended("", f"it hangs {running}: nothing came of it in {timeout:g} s", crashed=True)
    if (problem := describe_end(done.returncode, running)) is not None:
        return Ended("", problem, crashed=True)
    said, complaint = (each.decode(errors="replace").strip() for each in (done.stdout, done.stderr))
    if done.returncode:
        return Ended(said, complaint.splitlines()[-1] if complaint else f"exit code {done.returncode}")
    return Ended(said)


def describe_end(code: int, running: str) -> str | None:
    """What an exit code says of a process that did not end by itself, None where it did."""
    if code == -signal.SIGKILL:
        return "it was killed (signal 9), which the system does where memory runs out"
    return f"it crashes {running} (signal {-code})" if code < 0 else None


def probe(file: Path, cases: Sequence[tuple[str, Arrays]]) -> Probe:
    """Load a .tflite in a child process and run it.

    Args:
        file: The .tflite.
        cases: Signature and inputs `[n, ...]` by name.

    Raises:
        GateError: where it does not load, does not run, takes the process down or hangs.
    """
    [found] = probe_all([file], cases)
    if isinstance(found, GateError):
        raise found
    return found


def probe_all(files: Sequence[Path], cases: Sequence[tuple[str, Arrays]]) -> list[Probe | GateError]:
    """As `probe`, several files in one process; where one of them fails, each in a process of its own.

    The peak of memory is that of all files together.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "cases.json").write_text(json.dumps([signature for signature, _ in cases]), encoding="utf-8")
        for number, (_, inputs) in enumerate(cases):
            np.savez(directory / f"{number}.npz", **inputs)  # type: ignore[arg-type]
        ended = run_child("attnexport.tflite.probe", name, *map(str, files), running="the interpreter")
        if ended.problem is None:
            return [_read(directory / str(at), cases) for at in range(len(files))]
    if len(files) > 1:
        return [each for file in files for each in probe_all([file], cases)]
    return [GateError(ended.problem.replace(f"{files[0]} ", "it ").replace(f"{files[0]}: ", ""))]


def _read(directory: Path, cases: Sequence[tuple[str, Arrays]]) -> Probe:
    report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    signatures = {each["name"]: Signature.from_json(each) for each in report["signatures"]}
    answers = RecordedRunner({each["name"]: Signature.from_json(each).with_free_batch() for each in report["takes"]})
    for number, (signature, inputs) in enumerate(cases):
        with np.load(directory / f"{number}.npz") as outputs:
            answers.record(inputs, signature, dict(outputs))
    return Probe(answers, signatures, report["peak_memory_bytes"])


def main(arguments: Sequence[str]) -> int:
    """The child's side."""
    directory, *files = map(Path, arguments)
    try:
        signatures = json.loads((directory / "cases.json").read_text(encoding="utf-8"))
        for at, file in enumerate(files):
            _run(file, directory, signatures, directory / str(at))
    except (AttnexportError, OSError, MemoryError) as error:
        sys.stderr.write(first_line(error, limit=1000))
        return _FAILED
    return 0


def _run(file: Path, directory: Path, signatures: Sequence[str], target: Path) -> None:
    target.mkdir()
    runner = TFLiteRunner(file)
    for number, signature in enumerate(signatures):
        with np.load(directory / f"{number}.npz") as inputs:
            np.savez(target / f"{number}.npz", **batched(runner, dict(inputs), signature=signature))  # type: ignore[arg-type]
    raw = TFLiteRunner(file, raw=True)
    report = {
        "takes": [asdict(each) for each in runner.signatures.values()],
        "signatures": [asdict(each) for each in raw.signatures.values()],
        "peak_memory_bytes": peak_memory_bytes(),
    }
    (target / "report.json").write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
