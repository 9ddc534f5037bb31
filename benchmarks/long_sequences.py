"""Attention in blocks of queries beside attention at once: memory and latency over the length of a sequence.

Multi-head attention of 8 heads and 256 features, concatenated, as float32 .tflite; batch 1, one thread. Both files of a
length compute in one process, one call of each in turn; the memory is that of a process that runs one of them. Time is
the processor's, which other processes change less than the clock.

    python benchmarks/long_sequences.py [STEPS ...]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ai_edge_litert.interpreter  # noqa: F401 - before the first measurement of memory
import numpy as np

from attnexport.core.process import peak_memory_bytes
from attnexport.tflite.runner import TFLiteRunner

HEADS, FEATURES = 8, 256
LENGTHS = (512, 1024, 2048, 4096, 8192)
BLOCKS = (None, "auto", 128, 512)
CALLS = 3


def convert(steps: int, block: int | str | None, path: Path) -> Path:
    """A float32 .tflite of a layer with the same weights for every block."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    from attnexport.exporter import MultiHeadAttentionConcat, open_model
    from attnexport.tflite.float_model import convert_float

    keras.utils.set_random_seed(0)
    layer = MultiHeadAttentionConcat(HEADS, FEATURES, attention_block=block)  # type: ignore[arg-type]
    model = keras.Sequential([keras.Input((steps, FEATURES), name="x"), layer])
    with tempfile.TemporaryDirectory() as directory:
        source = open_model(model, classify=False, signatures=["serving_default"])
        source.write_fixed(Path(directory) / "saved_model", ["serving_default"], 1)
        path.write_bytes(convert_float(Path(directory) / "saved_model"))
    return path


def memory(path: Path, steps: int) -> int:
    """Bytes that a process needs more for running a file once than for importing what runs it."""
    before = peak_memory_bytes()
    TFLiteRunner(path).run({"x": np.zeros((1, steps, FEATURES), np.float32)})
    return peak_memory_bytes() - before


def measure(files: dict[str, str], steps: int) -> tuple[dict[str, float], dict[str, float]]:
    """The least seconds of a call, and the greatest difference from the first file, in one process."""
    sample = {"x": np.random.default_rng(0).standard_normal((1, steps, FEATURES)).astype(np.float32)}
    runners = {name: TFLiteRunner(Path(path)) for name, path in files.items()}
    outputs = {name: next(iter(runner.run(sample).values())) for name, runner in runners.items()}
    first = next(iter(outputs.values()))
    seconds = dict.fromkeys(files, float("inf"))
    for _ in range(CALLS):
        for name, runner in runners.items():
            started = time.process_time()
            runner.run(sample)
            seconds[name] = min(seconds[name], time.process_time() - started)
    return seconds, {name: float(np.abs(each - first).max()) for name, each in outputs.items()}


def in_child(function: str, *args: Any) -> Any:
    """What a function of this file returns in a process of its own."""
    command = [sys.executable, __file__, "--call", json.dumps([function, *args])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def bench(steps: int) -> None:
    """The rows of one length."""
    with tempfile.TemporaryDirectory() as directory:
        files = {
            "at once" if block is None else f"block {block}": convert(steps, block, Path(directory) / f"{block}.tflite")
            for block in BLOCKS
        }
        needed = {name: in_child("memory", str(path), steps) for name, path in files.items()}
        seconds, differences = in_child("measure", {name: str(path) for name, path in files.items()}, steps)
        first = next(iter(files))
        for name in files:
            print(
                f"{steps:6d} steps  {name:10s}  {needed[name] / 1e6:8.1f} MB ({needed[name] / needed[first]:5.2f})"
                f"  {1000 * seconds[name]:8.1f} ms ({seconds[name] / seconds[first]:5.2f})"
                f"  difference {differences[name]:.1e}",
                flush=True,
            )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("steps", type=int, nargs="*", default=LENGTHS)
    parser.add_argument("--call", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.call:
        name, *args = json.loads(options.call)
        print(json.dumps(memory(Path(args[0]), args[1]) if name == "memory" else measure(*args)))
        return
    for steps in options.steps:
        bench(steps)


if __name__ == "__main__":
    main()
