"""Kill the commands that write, at random moments, and check after each kill what is left.

    python benchmarks/chaos.py [--seconds N] [--kills N] [--seed N]

Half of the kills come at any moment, half while a file is being written. After each, the manifest is whole and every
artifact that it names is as it was written; in the end every command works, and nothing unfinished is left.
The commands run in forks of a process that has imported TensorFlow, or importing would take most of the time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

import attnexport as ax
from attnexport.cli.main import main
from attnexport.core.samples import read_arrays
from attnexport.store import ExportDirectory

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("tensorflow", "keras", "ai_edge_litert.interpreter", "litert_quantizer", "matplotlib"),
        *("attnexport.exporter.export", "attnexport.exporter.layers"),
        *("attnexport.workflows.convert", "attnexport.workflows.validate"),
    ]
)
MODEL = ("--steps", "4", "--features", "8", "--units", "8", "--classes", "3", "--pooling", "average")


def commands(folder: Path, address: str) -> dict[str, list[str]]:
    """Every command that writes, by name."""
    export = str(folder / "export" / "c")
    return {
        "savedmodel": ["savedmodel", *MODEL, "--name", "c", "-o", str(folder / "export")],
        "tflite": ["tflite", export, "-q", "float16", "--force"],
        "validate": ["validate", export, "--html", "--write-digest"],
        "cases": ["validate", export, "--write-cases", str(folder / "cases.npz")],
        "deploy": ["deploy", export, "--target", "docker", "--output", str(folder / "deployment"), "--force"],
        "predict": ["predict", "--server", address, "--model", "m", "--samples", str(folder / "x.npy"), "--output",
                    str(folder / "outputs.npz")],
    }  # fmt: skip


def run(words: list[str], log: Path) -> BaseProcess:
    """Start a command, in a fork of a process that has imported what takes long."""
    process = _CONTEXT.Process(target=_command, args=(words, str(log)))
    process.start()
    return process


def _command(words: list[str], log: str) -> None:
    os.setsid()  # its child processes end with it
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["attnexport", *words, "--quiet"]
    main()


def temporaries(folder: Path) -> set[Path]:
    """What is being written now, or was when something was killed."""
    return {path for depth in (".tmp-*", "*/.tmp-*", "*/*/.tmp-*") for path in folder.glob(depth)}


def kill(process: BaseProcess, folder: Path, chance: random.Random, usual_seconds: float) -> bool:
    """Kill a process at a random moment; False if it ended before."""
    begin, before = time.monotonic(), temporaries(folder)
    while_writing = chance.random() < 0.5
    moment = chance.uniform(0, usual_seconds)
    while process.is_alive():
        if while_writing and temporaries(folder) - before:
            time.sleep(chance.expovariate(10))
            break
        if not while_writing and time.monotonic() - begin > moment:
            break
        time.sleep(0.002)
    try:
        os.killpg(process.pid or 0, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, or no group yet
        process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


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
    for digest in (root / "digest").glob("*.sha256"):
        if digest in temporaries(root):
            continue
        assert digest.read_text().endswith("\n"), digest
    for file in ("outputs.npz", "cases.npz"):
        if (folder / file).exists():
            read_arrays(folder / file)


def whole(words: list[str], folder: Path) -> float:
    """Run a command to its end, and give the seconds that it took."""
    begin, log = time.monotonic(), folder / "log"
    process = run(words, log)
    process.join()
    assert process.exitcode == 0, f"{' '.join(words)} ended with {process.exitcode}: {log.read_text()[-2000:]}"
    return time.monotonic() - begin


def chaos() -> None:
    """Kill, check, and print how many kills of each command left everything whole."""
    parser = argparse.ArgumentParser(description=chaos.__doc__)
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
            whole(["list", str(folder)], folder)  # starts what is forked
            usual = {command: whole(words, folder) for command, words in lines.items()}
            print(
                "seconds of a whole command: ",
                ", ".join(f"{name} {each:.1f}" for name, each in usual.items()),
                flush=True,
            )
            check(folder)
            end = time.monotonic() + options.seconds
            while time.monotonic() < end and killed.total() < options.kills:
                # Of long commands fewer, or they would take all the time.
                command = min(lines, key=lambda each: (killed[each] * usual[each] ** 0.5, chance.random()))
                process = run(lines[command], folder / "log")
                (killed if kill(process, folder, chance, usual[command]) else finished)[command] += 1
                check(folder)
            print(f"{killed.total()} kills, all of them left everything whole: "
                  + ", ".join(f"{count} of {command}" for command, count in sorted(killed.items()))
                  + f"; {finished.total()} commands ended before", flush=True)  # fmt: skip
            for left in temporaries(folder / "export"):
                os.utime(left, (0, 0))  # as if they were old: a file that holds no lock may still be written
            for words in lines.values():
                whole(words, folder)
        check(folder)
        left = temporaries(folder / "export")
        assert not left, f"{left} is left"


if __name__ == "__main__":
    chaos()
