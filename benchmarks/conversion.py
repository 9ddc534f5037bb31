"""A conversion beside the same by hand: processor time and wall time, the gate and its child process included.

By hand means what one would type: load the `.keras`, export a SavedModel of batch 1, TFLiteConverter, litert-quantizer.
Ours also exports the version that a .tflite stands beside, at the first conversion of a model. TensorFlow is loaded and
one conversion of each has been made, before anything counts.

    python benchmarks/conversion.py [--rounds N]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from litert_quantizer.qtyping import TFLOperationName
from litert_quantizer.quantizer import Quantizer

import attnexport as ax

STEPS, FEATURES, SAMPLES = 10, 64, 200
MOST = 1.5  # times the time by hand


def by_hand(path: Path, recipe: str, samples: np.ndarray[Any, Any]) -> object:
    """The file of a recipe."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model = keras.saving.load_model(path)
        spec = keras.InputSpec(shape=(1, STEPS, FEATURES), dtype="float32", name="sequence")
        model.export(f"{path}-by-hand", format="tf_saved_model", verbose=False, input_signature=[spec])
        content = tf.lite.TFLiteConverter.from_saved_model(f"{path}-by-hand").convert()
        if recipe == "float32":
            return content
        quantizer, everything = Quantizer(content), TFLOperationName.ALL_SUPPORTED
        if recipe == "dynamic":
            quantizer.add_dynamic_config(".*", everything, 8)
            return quantizer.quantize()
        quantizer.add_static_config(".*", everything, 8, 8)
        batches = [{"sequence": sample[None]} for sample in samples]
        return quantizer.quantize(quantizer.calibrate({"serving_default": batches}))


def times(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor time, those of child processes included, and of wall time."""

    def used() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in usages)

    before, start = used(), time.perf_counter()
    call()
    return used() - before, time.perf_counter() - start


def main() -> None:
    """Ratios for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore")
    samples = np.random.default_rng(0).standard_normal((SAMPLES, STEPS, FEATURES)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for recipe in ("float32", "dynamic", "int8"):
            rows: dict[str, list[tuple[float, float]]] = {"first": [], "second": [], "by hand": []}
            for number in range(rounds + 1):
                path = directory / f"{recipe}{number}.keras"
                ax.build_model(steps=STEPS, features=FEATURES, units=64, classes=10, seed=number).save(path)
                output = directory / "export"

                def ours(recipe: str = recipe, path: Path = path, output: Path = output) -> object:
                    return ax.convert(path, recipe, calibration=samples, output=output, force=True)

                rows["first"].append(times(ours))
                rows["by hand"].append(times(lambda recipe=recipe, path=path: by_hand(path, recipe, samples)))
                rows["second"].append(times(ours))
            medians = {key: np.median(values[1:], axis=0) for key, values in rows.items()}
            for which in ("first", "second"):
                processor, wall = medians[which] / medians["by hand"]
                missed = ", MISSED" if wall > MOST else ""
                print(
                    f"{recipe}, {which} conversion of a model: {processor:.2f} of the processor time by hand, "
                    f"{wall:.2f} of the wall time (at most {MOST}){missed}"
                )


if __name__ == "__main__":
    main()
