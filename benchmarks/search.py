"""`--quantize auto` on models where uniform recipes fail, against the best named recipe under the same budget.

For each model three budgets are set: one in agreement, one in SQNR, and one that also limits the size to where no
uniform recipe comes near it. Latency is float32's in the same run, one call of each in turn, batch 1, one thread.

    python benchmarks/search.py
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
from search_models import OTHERS, Trained, digits

from attnexport.core.samples import LABELS, Samples
from attnexport.exporter import open_model
from attnexport.tflite import Prepared, prepare_calibration, prepare_conversion
from attnexport.tflite.recipes.recipe import FITTED, WEIGHT_ALGORITHMS
from attnexport.tflite.search import Goal, SearchSpace, search

# By model: an SQNR, and a share of float32's size, that no named recipe reaches together.
LIMITS = {
    "digits-attention": (31.5, 0.32),
    "digits-multihead": (33.0, 0.34),
    "heavy-tailed": (30.0, 0.32),
    "normalized": (30.0, 0.36),
    "tokens": (45.0, 0.38),
    "deep": (30.0, 0.36),
}
NOT_FITTED = SearchSpace(weight_algorithms=tuple(each for each in WEIGHT_ALGORITHMS if each != FITTED))


def prepared(trained: Trained, directory: Path) -> tuple[Prepared, Samples]:
    """The model converted to float32, calibrated, and its evaluation samples."""
    original = open_model(trained.model, classify=False).in_float32()
    path = directory / "saved_model"
    fixed = original.write_fixed(path, ["serving_default"], 1)
    specs = fixed["serving_default"].inputs
    train, held_out = (
        Samples({specs[0].name: arrays[trained.model.inputs[0].name]}, arrays[LABELS])
        for arrays in (trained.train, trained.held_out)
    )
    calibration = prepare_calibration(train, specs, held_out)
    ready = prepare_conversion(path, calibration, reference=original.reference, signatures=fixed)
    assert ready.statistics
    return ready, held_out


def bench(name: str, trained: Trained) -> None:
    """Three rows of the table."""
    with tempfile.TemporaryDirectory() as directory:
        ready, evaluation = prepared(trained, Path(directory))
    least, share = LIMITS[name]
    whole = len(ready.model)
    print(
        f"{name}: float32 {whole:,} bytes, calibrated on {len(ready.calibration)} samples, {len(evaluation)} to judge"
    )
    for goal in (
        Goal(min_agreement=0.995),
        Goal(min_sqnr_db=least),
        Goal(min_sqnr_db=least, max_size=int(share * whole)),
    ):
        start = time.perf_counter()
        found = search(ready, goal, evaluation)
        seconds = time.perf_counter() - start
        best, chosen = found.best_named, found.chosen
        told = "none" if best is None else f"{best.name} {best.measured.size_bytes / whole:.3f}"
        got = "none" if chosen is None else f"{chosen.name} {chosen.measured.size_bytes / whole:.3f} {chosen.measured}"
        worse = best is not None and (chosen is None or chosen.measured.size_bytes > best.measured.size_bytes)
        print(f"  {goal}")
        print(f"    named: {told}; auto: {got}{', WORSE' if worse else ''}")
        if goal.max_size is None:
            plain = search(ready, goal, evaluation, NOT_FITTED).chosen
            without = "none" if plain is None else f"{plain.name} {plain.measured.size_bytes / whole:.3f}"
            print(f"    without {FITTED}: {without}")
        print(f"    {len(found.trials)} candidates in {seconds:.1f} s, {seconds / len(found.trials):.3f} s each")


def main() -> None:
    """All models."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as directory:
        for name, trained in digits(Path(directory)).items():
            bench(name, trained)
    for name, train in OTHERS.items():
        keras.utils.set_random_seed(0)
        bench(name, train())


if __name__ == "__main__":
    main()
