"""Kill the commands that write, at random moments, and check after each kill what is left.

    python benchmarks/chaos.py [--seconds N] [--kills N] [--seed N]

Half of the kills come at any moment, half while a file is being written. After each, the manifest is whole and every
artifact that it names is as it was written; in the end every command works, and nothing unfinished is left.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import attnexport as ax
from attnexport.core.samples import read_arrays
from attnexport.store import ExportDirectory

BIN = Path(sys.executable).parent
MODEL = ("--steps", "4", "--features", "8", "--units", "8", "--classes", "3", "--pooling", "average")


def commands(folder: Path, address: str) -> dict[str, list[str]]:
    """Every command that writes, by name."""
    export = str(folder / "export" / "c")
    return {
        "savedmodel": ["savedmodel", *MODEL, "--name", "c", "-o", str(folder / "export")],
        "tflite": ["tflite", export, "-q", "float16", "--force"],
        "validate": ["validate", export, "--html"],
        "deploy": ["deploy", export, "--target", "docker", "--output", str(folder / "deployment"), "--force"],
        "predict": ["predict", "--server", address, "--model", "m", "--samples", str(folder / "x.npy"), "--output",
                    str(folder / "outputs.npz")],
    }  # fmt: skip


def run(words: list[str]) -> subprocess.Popen[bytes]:
    """Start a command in a group of its own, as its child processes must end with it."""
    line = [str(BIN / "attnexport"), *words, "--quiet"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def temporaries(folder: Path) -> set[Path]:
    """What is being written now, or was when something was killed."""
    return {path for depth in (".tmp-*", "*/.tmp-*", "*/*/.tmp-*") for path in folder.glob(depth)}


def kill(process: subprocess.Popen[bytes], folder: Path, chance: random.Random, usual_seconds: float) -> bool:
    """Kill a process at a random moment; False if it ended before."""
    begin, before = time.monotonic(), temporaries(folder)
    while_writing = chance.random() < 0.5
    moment = chance.uniform(0, usual_seconds)
    while process.poll() is None:
        if while_writing and temporaries(folder) - before:
            time.sleep(chance.expovariate(10))
            break
        if not while_writing and time.monotonic() - begin > moment:
            break
        time.sleep(0.002)
    alive = process.poll() is None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        alive = False
    process.wait()
    return alive


def check(folder: Path) -> None:
    """Fail if something that was written before is not whole any more."""
    root = folder / "export" / "c"
    for entry in ExportDirectory(root).manifest().versions:
        for artifact in entry.artifacts:
            assert artifact.change(root) is None, f"{artifact.path} is {artifact.change(root)}"
    versions = sorted(each.name for each in (root / "saved_model").iterdir())
    assert all(each.isdecimal() for each in versions), versions
    for report in (root / "report").glob("*.html"):
        assert report.read_text().rstrip().endswith("</html>"), report
    deployment = folder / "deployment"
    if deployment.exists():
        assert (deployment / "Dockerfile").exists()
        assert list((deployment / "models").rglob("saved_model.pb"))
    if (folder / "outputs.npz").exists():
        read_arrays(folder / "outputs.npz")


def whole(words: list[str]) -> float:
    """Run a command to its end, and give the seconds that it took."""
    begin = time.monotonic()
    process = run(words)
    output, _ = process.communicate()
    assert process.returncode == 0, f"{' '.join(words)} ended with {process.returncode}: {output.decode()[-2000:]}"
    return time.monotonic() - begin


def main() -> None:
    """Kill, check, and print how many kills of each command left everything whole."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="time limit [600]")
    parser.add_argument("--kills", type=int, default=300, help="kills at most [300]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, killed, finished = random.Random(options.seed), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="attnexport-chaos-") as name:
        folder = Path(name)
        np.save(folder / "x.npy", np.ones((2, 4, 8), np.float32))
        served = ax.export_saved_model(
            ax.build_model(steps=4, features=8, units=8, classes=3), folder / "served", name="m", warmup=0
        )
        with ax.serve(served.directory, in_child=True) as server:
            lines = commands(folder, server.grpc_address or "")
            usual = {command: whole(words) for command, words in lines.items()}
            check(folder)
            end = time.monotonic() + options.seconds
            while time.monotonic() < end and killed.total() < options.kills:
                command = chance.choice(list(lines))
                process = run(lines[command])
                (killed if kill(process, folder, chance, usual[command]) else finished)[command] += 1
                check(folder)
            for words in lines.values():
                whole(words)
        check(folder)
        assert not (left := temporaries(folder / "export")), f"{left} is left"
    print(f"{killed.total()} kills, all of them left everything whole: "
          + ", ".join(f"{count} of {command}" for command, count in sorted(killed.items()))
          + f"; {finished.total()} commands ended before")  # fmt: skip


if __name__ == "__main__":
    main()
