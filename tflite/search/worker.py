"""Quantizes and measures candidates, one after another, in a process of its own, for it may be taken down by one.

    python -m attnexport.tflite.search.worker DIRECTORY

DIRECTORY holds what `workers.Workers` wrote: the model, ranges, and cases with right answers. A line of JSON on stdin
asks for a candidate, a line on stdout answers; it ends with its stdin.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core.batches import fill_batch
from attnexport.core.errors import AttnexportError, first_line
from attnexport.core.latency import measure
from attnexport.core.runner import batched
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays
from attnexport.parity import Figures, agreement
from attnexport.parity.metrics import scores_name
from attnexport.tflite.candidates import worst_sqnr_db
from attnexport.tflite.float_core import place
from attnexport.tflite.gate import check_recipe
from attnexport.tflite.graph import read_graph
from attnexport.tflite.quantization import quantize
from attnexport.tflite.recipes import Recipe
from attnexport.tflite.recipes.files import recipe_from
from attnexport.tflite.runner import TFLiteRunner

from .goal import Measurement

_ROUNDS, _SECONDS = 30, 0.03  # of the latency beside float32 that every candidate gets


class Bench:
    """One model, its samples, and what answers are right."""

    def __init__(self, directory: Path) -> None:
        setup = json.loads((directory / "setup.json").read_text(encoding="utf-8"))
        self._model = (directory / "model.tflite").read_bytes()
        self._graph = read_graph(self._model)
        self._ranges = {
            calibrator: {name: (low, high) for name, (low, high) in ranges.items()}
            for calibrator, ranges in setup["ranges"].items()
        }
        self._cases = {name: [_Case(directory, each) for each in cases] for name, cases in setup["cases"].items()}
        self._float = TFLiteRunner(self._model)
        batch = self._float.signatures[DEFAULT_SIGNATURE].fixed_batch or 1
        inputs = next(case for case in self._cases["full"] if case.signature == DEFAULT_SIGNATURE).inputs
        self._sample = fill_batch({name: array[:batch] for name, array in inputs.items()}, batch)

    def answer(self, request: Mapping[str, Any]) -> Any:
        """The figures of a candidate, or the latency ratios of several."""
        recipes = [recipe_from("recipe", each) for each in request["recipes"]]
        if request["what"] == "race":
            return self._race(recipes, request["rounds"], request["seconds"])
        try:
            return asdict(self._measure(recipes[0], request["what"]))
        except AttnexportError as error:
            return asdict(Measurement(problem=first_line(error)))

    def _measure(self, recipe: Recipe, cases: str) -> Measurement:
        content = self._quantized(recipe)
        runner = TFLiteRunner(content)
        figures = Figures()
        for case in self._cases[cases]:
            outputs = batched(runner, case.inputs, signature=case.signature)
            figures = replace(figures, sqnr_db=min(figures.sqnr_db, worst_sqnr_db(case.expected, outputs)))
            scores = scores_name(case.expected) if case.judged else None
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
            found = measure(calls, rounds=_ROUNDS, seconds=_SECONDS)
            beside = found["float"].p50_ms
            ratio = found[""].p50_ms / beside
        return Measurement(len(content), ratio, beside, figures)

    def _race(self, recipes: Sequence[Recipe], rounds: int, seconds: float) -> dict[str, Any]:
        """Medians of float32, of float32 once more, which tells the noise, and of candidates, from calls in turn."""
        runners = [self._float, TFLiteRunner(self._model), *(TFLiteRunner(self._quantized(each)) for each in recipes)]
        calls = {str(at): partial(runner.run, self._sample) for at, runner in enumerate(runners)}
        found = measure(calls, rounds=rounds, seconds=seconds)
        return {"milliseconds": [each.p50_ms for each in found.values()]}

    def _quantized(self, recipe: Recipe) -> bytes:
        ranges = self._ranges[recipe.calibrator] if recipe.needs_calibration else None
        return quantize(self._model, recipe, ranges, recipe.weight_algorithms[0], place(self._graph, recipe))


class _Case:
    def __init__(self, directory: Path, document: Mapping[str, Any]) -> None:
        self.signature, self.judged = document["signature"], document["judged"]
        with np.load(directory / document["file"]) as arrays:
            self.inputs: Arrays = {key[3:]: arrays[key] for key in arrays if key.startswith("in.")}
            self.expected: Arrays = {key[4:]: arrays[key] for key in arrays if key.startswith("out.")}
            self.labels = arrays.get("labels")


def main(arguments: Sequence[str]) -> int:
    """The loop."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print must not come between answers
        bench = Bench(Path(arguments[0]))
        for line in sys.stdin:
            answers.write(json.dumps(bench.answer(json.loads(line))) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
