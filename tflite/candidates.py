"""The ways a recipe allows to quantize a model, and the best of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np

from attnexport.core.errors import GateError
from attnexport.core.signature import Arrays
from attnexport.parity import Budget, Figures, budget_of, distance
from attnexport.parity.column_tallies import ColumnTallies
from attnexport.parity.figures import worst
from attnexport.parity.mismatch import is_float, mismatch, not_finite

from .float_core import Places, quantized_tensors
from .graph import Graph
from .masks import mask_ranges
from .probe import Probe, probe_all
from .quantization import quantize
from .recipes import Recipe
from .recipes.recipe import CALIBRATORS
from .statistics import Statistics, check_finite, ranges

_MAX_CHILDREN = 2


@dataclass(frozen=True)
class Candidate:
    """A quantized file, its calibrator and its weight algorithm; None if the recipe leaves no choice."""

    content: bytes
    calibrator: str | None
    weight_algorithm: str | None


def candidates(
    model: bytes, graph: Graph, recipe: Recipe, statistics: Statistics | None, places: Places
) -> list[Candidate]:
    """Quantize in every way a recipe allows; each distinct file once.

    Args:
        model: A float32 .tflite.
        graph: Its contents.
        recipe: The recipe.
        statistics: Statistics of its activations, if the recipe needs calibration.
        places: Operators the recipe's exceptions apply to.

    Raises:
        ModelError: if the quantizer fails.
        SamplesError: if a tensor that is to be quantized is not finite.
    """
    needed, is_masked = quantized_tensors(graph, places), _has_integer_softmax(graph, places)
    if statistics is not None and recipe.needs_calibration:
        masks = mask_ranges(model, graph, statistics, {}) if is_masked else {}
        check_finite(statistics, needed - masks.keys())
    algorithms = recipe.weight_algorithms if recipe.weights.startswith("int") else ("minmax",)
    calibrators: Sequence[str | None] = [None]
    if recipe.needs_calibration:
        calibrators = CALIBRATORS if recipe.calibrator == "auto" else [recipe.calibrator]
    constants = (each for subgraph in graph.subgraphs for each in subgraph.tensors if each.constant_bytes)
    ranks = {each.name: len(each.shape) for each in constants} if is_masked else {}
    by_content: dict[bytes, Candidate] = {}
    for calibrator in calibrators:
        bounds = None
        if statistics is not None and calibrator:
            bounds = {name: each for name, each in ranges(statistics, calibrator).items() if name in needed}
            if is_masked:
                bounds |= mask_ranges(model, graph, statistics, bounds)
        for algorithm in algorithms:
            content = quantize(model, recipe, bounds, algorithm, places, ranks)
            chosen = algorithm if recipe.weights.startswith("int") else None
            by_content.setdefault(content, Candidate(content, calibrator, chosen))
    return list(by_content.values())


def _has_integer_softmax(graph: Graph, places: Places) -> bool:
    return any(
        operator.name == "SOFTMAX" and subgraph.tensors[operator.outputs[0]].name not in places.stay_float
        for subgraph, operator in graph.operators
    )


def best(
    several: Sequence[Candidate], cases: Mapping[str, Arrays], expected: Mapping[str, Arrays], precision: str
) -> Candidate:
    """The candidate with the greatest SQNR of its worst output, of those that lose no column.

    They run in child processes.

    Args:
        several: At least one candidate.
        cases: Held-out inputs `[n, ...]` by signature.
        expected: The original's outputs.
        precision: The row of the table of budgets.
    """
    if len(several) == 1:
        return several[0]
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(_MAX_CHILDREN) as pool:
        files = [Path(directory) / f"{number}.tflite" for number in range(len(several))]
        for file, each in zip(files, several, strict=True):
            file.write_bytes(each.content)
        # Starting a process takes longer than running a file, so each runs several.
        size = -(-len(files) // _MAX_CHILDREN)
        shares = [files[start : start + size] for start in range(0, len(files), size)]
        results = pool.map(lambda share: probe_all(share, list(cases.items())), shares)
        probes = [each for share in results for each in share]
    budget = budget_of(precision)
    ranks = [_rank(each, cases, expected, budget) for each in probes]
    return several[ranks.index(max(ranks))]


def worst_figures(expected: Arrays, actual: Arrays, budget: Budget) -> Figures:
    """The SQNR of the worst output, and the worst column of all.

    Args:
        expected: The original's outputs.
        actual: The file's.
        budget: That of its precision.

    Raises:
        GateError: if an output has another shape or type, or holds NaN.
    """
    figures = [Figures()]
    for name, wanted in expected.items():
        problem = mismatch(wanted, actual[name], 0.0)  # its gate judges them
        if problem is None and is_float(wanted) and not_finite(wanted) is None:
            problem = not_finite(actual[name])
        if problem is not None:
            raise GateError(f"output {name!r}: {problem}")
        if is_float(wanted):
            tally = ColumnTallies()
            tally.add(*(each.astype(np.float64) for each in (wanted, actual[name])))
            figures.append(replace(distance(wanted, actual[name]), columns=tally.result(budget.step)))
    return worst(figures) or Figures()


def _rank(
    probed: Probe | GateError, cases: Mapping[str, Arrays], expected: Mapping[str, Arrays], budget: Budget
) -> tuple[float, float]:
    """How far its worst column is below what it must have, and its SQNR, in dB; the greatest is the best.

    Minus infinity for a file that does not run, or whose outputs are wrong.
    """
    if isinstance(probed, GateError):
        return -inf, -inf
    try:
        several = [
            worst_figures(expected[name], probed.outputs.run(inputs, name), budget) for name, inputs in cases.items()
        ]
    except GateError:
        return -inf, -inf
    found = worst(several) or Figures()
    columns = inf if found.columns is None else found.columns.sqnr_db
    return min(columns - budget.min_column_sqnr_db, 0.0), found.sqnr_db
