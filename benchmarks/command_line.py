"""Whole commands against their nearest relatives, as ratios of paired runs.

These machines are noisy: each pair of runs gives one ratio, and the median of the ratios is what counts.

    python benchmarks/command_line.py [--runs N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent

# The least that an export can be: Keras, the same model, model.export.
MINIMAL_EXPORT = """
import sys, keras
class AttentionConcat(keras.layers.Layer):
    def call(self, x):
        scores = keras.ops.matmul(x / 8.0, keras.ops.swapaxes(x, -1, -2))
        return keras.ops.concatenate([x, keras.ops.matmul(keras.ops.softmax(scores), x)], axis=-1)
model = keras.Sequential([keras.Input((10, 64)), AttentionConcat(),
                          keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)])
model.export(sys.argv[1], verbose=False)
"""


def seconds(command: list[str]) -> float:
    """Wall time of a whole process, in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
        return time.perf_counter() - start


def compare(title: str, ours: list[str], theirs: list[str], runs: int, claim: str) -> None:
    """Print the ratio theirs / ours, or ours / theirs, pair by pair."""
    for command in (ours, theirs):
        seconds(command)  # once to warm the disk's cache
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(runs)]
    ratios = sorted(a / b for a, b in pairs)
    ours_median, theirs_median = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{title}\n  ours {ours_median:.2f} s, theirs {theirs_median:.2f} s (medians of {runs})")
    print(
        f"  ours / theirs: median {statistics.median(ratios):.3f}, {ratios[0]:.3f} to {ratios[-1]:.3f};"
        f" theirs / ours {1 / statistics.median(ratios):.1f}   [{claim}]\n"
    )


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    attnexport = str(BIN / "attnexport")
    compare(
        "attnexport --help against tflite_convert --help",
        [attnexport, "--help"],
        [str(BIN / "tflite_convert"), "--help"],
        runs,
        "at least 20 times faster",
    )
    compare(
        "attnexport savedmodel, with gate and warm-up, against a script that calls model.export",
        [attnexport, "savedmodel"],
        [sys.executable, "-c", MINIMAL_EXPORT, "exported"],
        runs,
        "at most 1.3 times as long",
    )


if __name__ == "__main__":
    main()
