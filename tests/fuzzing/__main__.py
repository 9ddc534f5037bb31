"""Feed a million inputs to each parser of bytes from outside, each in a process of its own.

    python -m tests.fuzzing [--inputs N] [--seed N] [--folder DIR] [TARGET ...]

An input that shows a fault is written to the folder, also that of a crash.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .campaign import Findings, feed
from .targets import find, targets

_NOTED = 1 << 20  # bytes of an input that a crash leaves
_HEAD = 16  # the number of the input and its length
_NOT_STARTED = (1 << 64) - 1  # instead of a number
_SILENT_SECONDS = 300.0  # wall time of an input, after which the process has hung
_ADDRESS_BYTES = 6 << 30  # of address space beside what a process has after its start


@dataclass
class Note:
    """The input that is being fed, in a file that outlives the process."""

    memory: mmap.mmap

    @classmethod
    def open(cls, path: Path) -> Note:
        with path.open("r+b") as file:
            file.truncate(_HEAD + _NOTED)
            return cls(mmap.mmap(file.fileno(), _HEAD + _NOTED))

    def __call__(self, number: int, data: bytes) -> None:
        data = data[:_NOTED]
        self.memory[:_HEAD] = number.to_bytes(8, "little") + len(data).to_bytes(8, "little")
        self.memory[_HEAD : _HEAD + len(data)] = data

    @property
    def number(self) -> int:
        return int.from_bytes(self.memory[:8], "little")

    @property
    def data(self) -> bytes:
        return self.memory[_HEAD : _HEAD + int.from_bytes(self.memory[8:_HEAD], "little")]


def child(name: str, inputs: int, seed: str, folder: Path) -> None:
    """Feed one parser, and print the findings as JSON."""
    target, note = find(name)(), Note.open(folder / "input")
    for seed_data in target.seeds:
        for read in target.reads:
            with contextlib.suppress(*target.refuses):
                read(seed_data)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:  # a parser that asks for terabytes then gets a MemoryError, which is a fault
        limit = pages * resource.getpagesize() + _ADDRESS_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.stdout.write(json.dumps(vars(feed(target, inputs, seed, folder, note))))


def campaign(name: str, inputs: int, seed: int, folder: Path) -> Findings:
    """Feed one parser in processes of its own: another one after each crash."""
    whole, part = Findings(), 0
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input").touch()
    note = Note.open(folder / "input")
    while whole.inputs < inputs:
        note(_NOT_STARTED, b"")
        words = [sys.executable, "-W", "ignore", "-m", "tests.fuzzing", "--child", "--folder", str(folder), name]
        words += ["--inputs", str(inputs - whole.inputs), "--seed", f"{seed}-{part}"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        output = _watched(process, note)
        part += 1
        if process.returncode == 0:
            found = Findings(**json.loads(output))
            whole.answers.update(found.answers)
            whole.faults |= found.faults
            whole.inputs, whole.read = whole.inputs + found.inputs, whole.read + found.read
            whole.slowest_ms = max(whole.slowest_ms, found.slowest_ms)
            whole.grown_mb = max(whole.grown_mb, found.grown_mb)
            continue
        if note.number == _NOT_STARTED:
            sys.exit(f"{name}: the process that feeds it did not start")
        file = folder / f"crash-{part}"
        file.write_bytes(note.data)
        whole.faults[f"the process ended with {process.returncode} at input {note.number}"] = str(file)
        whole.inputs += note.number + 1
        if part > 20:
            break
    (folder / "input").unlink()
    return whole


def _watched(process: subprocess.Popen[str], note: Note) -> str:
    """What a process prints; killed once it stays at one input for too long."""
    last, since = -1, time.monotonic()
    while True:
        try:
            return process.communicate(timeout=5)[0]
        except subprocess.TimeoutExpired:
            if note.number != last:
                last, since = note.number, time.monotonic()
            elif time.monotonic() - since > _SILENT_SECONDS:
                process.kill()


def say(line: str) -> None:
    """Print a line at once: a campaign takes an hour."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Fuzz the targets that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="TARGET", help=f"{', '.join(targets())} [all]")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs of each [1000000]")
    parser.add_argument("--seed", default="0", help="where the choices come from [0]")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="where faults are written [build/fuzz]")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if options.child:
        child(options.names[0], options.inputs, options.seed, options.folder)
        return
    faults = 0
    for name in options.names or targets():
        begin = time.perf_counter()
        found = campaign(name, options.inputs, options.seed, options.folder / name)
        faults += len(found.faults)
        say(
            f"{name}: {found.inputs:,} inputs in {time.perf_counter() - begin:,.0f} s, {found.read / found.inputs:.0%} "
            f"read, {len(found.answers)} kinds of answers, slowest {found.slowest_ms:.0f} ms, "
            f"+{found.grown_mb:.0f} MB; {len(found.faults) or 'no'} faults"
        )
        for kind, file in found.faults.items():
            say(f"  {kind}: {file}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
