"""Quantizes and measures candidates in a child process, which a candidate may crash.

`workers.Workers` writes a directory with the model, ranges, and cases with the original's outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core.batches import fill_batch
from attnexport.core.errors import AttnexportError, first_line
from attnexport.core.latency import measure
from attnexport.core.runner import batched
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays
from attnexport.parity import Figures, agreement, budget_of
from attnexport.parity.figures import worst_columns
from attnexport.tflite.candidates import worst_figures
from attnexport.tflite.fitted_weights import WeightFitter
from attnexport.tflite.float_core import place
from attnexport.tflite.gate import check_recipe
from attnexport.tflite.graph import read_graph
from attnexport.tflite.metadata import ModelMetadata, add_metadata
from attnexport.tflite.quantization import quantize
from attnexport.tflite.recipes import Recipe
from attnexport.tflite.runner import TFLiteRunner

from .goal import Measurement

_ROUNDS, _SECONDS = 30, 0.03  # of the latency beside float32 that every candidate gets


class Bench:
    """One model, its samples, and the original's outputs."""

    def __init__(self, directory: Path) -> None:
        setup = json.loads((directory / "setup.json").read_text(encoding="utf-8"))
        self._model = (directory / "model.tflite").read_bytes()
        self._graph = read_graph(self._model)
        self._ranges = {
            calibrator: {name: (low, high) for name, (low, high) in ranges.items()}
            for calibrator, ranges in setup["ranges"].items()
        }
        described = setup["metadata"]
        self._metadata = (
            None if described is None else ModelMetadata(**{**described, "labels": tuple(described["labels"])})
        )
        fits = directory / "fits.npz"  # if the search tries fitted weights
        self._fitter = WeightFitter.load(fits, self._model, self._graph) if fits.exists() else None
        self._cases = {name: [_Case(directory, each) for each in cases] for name, cases in setup["cases"].items()}
        self._float = TFLiteRunner(self._model)
        batch = self._float.signatures[DEFAULT_SIGNATURE].fixed_batch or 1
        inputs = next(case for case in self._cases["full"] if case.signature == DEFAULT_SIGNATURE).inputs
        self._sample = fill_batch({name: array[:batch] for name, array in inputs.items()}, batch)

    def measure(self, recipe: Recipe, cases: str) -> Measurement:
        """Measure a candidate."""
        content = self._quantized(recipe)
        runner = TFLiteRunner(content)
        figures, budget = Figures(), budget_of(recipe.precision)
        for case in self._cases[cases]:
            outputs = batched(runner, case.inputs, signature=case.signature)
            found = worst_figures(case.expected, outputs, budget)
            columns = worst_columns([figures.columns, found.columns])
            figures = replace(figures, sqnr_db=min(figures.sqnr_db, found.sqnr_db), columns=columns)
            scores = case.judged
            if scores is not None:
                wanted = case.expected[scores]
                figures = replace(figures, agreement=agreement(wanted.argmax(axis=-1), outputs[scores]))
                if case.labels is not None:
                    right, reference = (agreement(case.labels, each) for each in (outputs[scores], wanted))
                    figures = replace(figures, accuracy=right, reference_accuracy=reference)
        ratio, beside = None, None
        if cases == "full":
            check_recipe(read_graph(content), recipe, place(self._graph, recipe))
            calls = {name: partial(each.run, self._sample) for name, each in (("", runner), ("float", self._float))}
            latencies = measure(calls, rounds=_ROUNDS, seconds=_SECONDS)
            beside = latencies["float"].p50_ms
            ratio = latencies[""].p50_ms / beside
        size = len(content if self._metadata is None else add_metadata(content, self._metadata))  # as it is written
        return Measurement(size, ratio, beside, figures, min_column_sqnr_db=budget.min_column_sqnr_db)

    def race(self, recipes: Sequence[Recipe], rounds: int, seconds: float) -> list[float]:
        """Medians in ms of float32, of float32 again, which shows the noise, and of candidates, from calls in turn."""
        runners = [self._float, TFLiteRunner(self._model), *(TFLiteRunner(self._quantized(each)) for each in recipes)]
        calls = {str(at): partial(runner.run, self._sample) for at, runner in enumerate(runners)}
        return [each.p50_ms for each in measure(calls, rounds=rounds, seconds=seconds).values()]

    def _quantized(self, recipe: Recipe) -> bytes:
        ranges = self._ranges[recipe.calibrator] if recipe.needs_calibration else None
        places = place(self._graph, recipe)
        return quantize(self._model, recipe, ranges, recipe.weight_algorithms[0], places, fitter=self._fitter)


class _Case:
    def __init__(self, directory: Path, document: Mapping[str, Any]) -> None:
        self.signature, self.judged = document["signature"], document["judged"]
        with np.load(directory / document["file"]) as arrays:
            self.inputs: Arrays = {key[3:]: arrays[key] for key in arrays if key.startswith("in.")}
            self.expected: Arrays = {key[4:]: arrays[key] for key in arrays if key.startswith("out.")}
            self.labels = arrays.get("labels")


@lru_cache(maxsize=1)
def _bench(directory: Path) -> Bench:
    return Bench(directory)


def measure_candidate(directory: Path, recipe: Recipe, cases: str) -> Measurement:
    """The measurement of a candidate; `problem` says why one cannot be used.

    Args:
        directory: What `Workers` wrote.
        recipe: What to measure.
        cases: On which samples: `few`, `full` or `all`.
    """
    try:
        return _bench(directory).measure(recipe, cases)
    except AttnexportError as error:
        return Measurement(problem=first_line(error))


def race_candidates(directory: Path, recipes: list[Recipe], rounds: int, seconds: float) -> list[float]:
    """Medians in ms, from calls in turn: of float32, of float32 again, and of candidates."""
    return _bench(directory).race(recipes, rounds, seconds)
