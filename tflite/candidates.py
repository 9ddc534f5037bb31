"""The ways a recipe allows to quantize a model, and the best of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np

from attnexport.core.child_process import Child
from attnexport.core.errors import GateError, ModelError
from attnexport.core.signature import Arrays
from attnexport.parity import Budget, Case, Figures, budget_of, distance
from attnexport.parity.column_tallies import ColumnTallies
from attnexport.parity.figures import worst
from attnexport.parity.mismatch import is_float, mismatch, not_finite
from attnexport.parity.running import comparable

from .fitted_weights import WeightFitter
from .float_core import Places, quantized_tensors
from .graph import Graph
from .masks import mask_ranges
from .probe import Probe, interpreter_child, probe_all
from .quantization import quantize
from .recipes import Recipe
from .recipes.recipe import CALIBRATORS, FITTED
from .statistics import HEADROOM, Statistics, check_finite, ranges

MAX_MEASURED = 64  # samples on which ways to quantize are measured
_HEADROOM_DB = 2.0  # what ranges 1.25 times as wide cost
_SLOW_SECONDS = 3.0  # for the files that are left, from which on two processes share them


@dataclass(frozen=True)
class Candidate:
    """A quantized file, its calibrator and its weight algorithm; None if the recipe leaves no choice."""

    content: bytes
    calibrator: str | None
    weight_algorithm: str | None


def candidates(
    model: bytes,
    graph: Graph,
    recipe: Recipe,
    statistics: Statistics | None,
    places: Places,
    fitter: WeightFitter | None = None,
) -> list[Candidate]:
    """Quantize in every way a recipe allows; each distinct file once.

    Args:
        model: A float32 .tflite.
        graph: Its contents.
        recipe: The recipe.
        statistics: Statistics of its activations, if the recipe needs calibration.
        places: Operators the recipe's exceptions apply to.
        fitter: Fits weights to the inputs of their layers; without one that is not among the ways.

    Raises:
        ModelError: if there is nothing to quantize, or the quantizer fails.
        SamplesError: if a tensor that is to be quantized is not finite.
    """
    tensors = (tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors)
    if recipe.needs_calibration and not any(tensor.dtype == "float32" for tensor in tensors):
        raise ModelError(
            f"recipe {recipe.name!r}: the model computes with integers alone, so float32 is the file to take"
        )
    needed, is_masked = quantized_tensors(graph, places), _has_integer_softmax(graph, places)
    if statistics is not None and recipe.needs_calibration:
        masks = mask_ranges(model, graph, statistics, {}) if is_masked else {}
        check_finite(statistics, needed - masks.keys())
    algorithms = recipe.weight_algorithms if recipe.weights.startswith("int") else ("minmax",)
    if fitter is None:
        algorithms = tuple(each for each in algorithms if each != FITTED)
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
            content = quantize(model, recipe, bounds, algorithm, places, ranks, fitter)
            chosen = algorithm if recipe.weights.startswith("int") else None
            by_content.setdefault(content, Candidate(content, calibrator, chosen))
    return list(by_content.values())


def _has_integer_softmax(graph: Graph, places: Places) -> bool:
    return any(
        operator.name == "SOFTMAX" and subgraph.tensors[operator.outputs[0]].name not in places.stay_float
        for subgraph, operator in graph.operators
    )


def best(
    several: Sequence[Candidate],
    cases: Sequence[Case],
    precision: str,
    child: Child | None = None,
    *,
    needed_db: float | None = None,
    held_out: int,
) -> Candidate:
    """The candidate with the greatest SQNR of its worst output, of those that lose no column.

    A few held-out samples seldom exceed the ranges of the others, and so favour narrow ones. Of candidates whose SQNR
    differs by no more than headroom costs in steps, the one with the most headroom loses least on later samples.

    They run in a child process, and if one takes long, in two.

    Args:
        several: At least one candidate.
        cases: Samples with the original's outputs: held-out ones, and if these are few, calibration samples.
        precision: The row of the table of budgets.
        child: A child process to run them in; one of its own if None.
        needed_db: The SQNR that headroom may not cost; the precision's if None.
        held_out: How many samples were held out.
    """
    if len(several) == 1:
        return several[0]
    given = [(case.signature, case.inputs) for case in cases]
    with tempfile.TemporaryDirectory() as directory, interpreter_child() as own, ThreadPoolExecutor(2) as pool:
        files = [Path(directory) / f"{number}.tflite" for number in range(len(several))]
        for file, each in zip(files, several, strict=True):
            file.write_bytes(each.content)
        child = child or own
        probes, started = probe_all(files[:1], given, child), time.monotonic()
        probes += probe_all(files[1:2], given, child)
        # Starting another process takes longer than running some small files.
        is_slow = (time.monotonic() - started) * (len(files) - 2) > _SLOW_SECONDS
        middle = (2 + len(files)) // 2 if is_slow else len(files)
        shares = pool.map(probe_all, (files[2:middle], files[middle:]), (given, given), (child, None))
        probes += [each for share in shares for each in share]
    budget = budget_of(precision)
    ranks = [_rank(each, cases, budget) for each in probes]
    column, sqnr_db = max(ranks)
    chosen = several[ranks.index((column, sqnr_db))]
    if held_out >= MAX_MEASURED:
        return chosen
    needed_db = budget.min_sqnr_db or 0.0 if needed_db is None else needed_db
    least = min(sqnr_db, max(sqnr_db - _HEADROOM_DB * (1 - held_out / MAX_MEASURED), needed_db))
    able = [
        each
        for each, rank in zip(several, ranks, strict=True)
        if rank >= (column, least) and each.weight_algorithm == chosen.weight_algorithm
    ]
    return max(able, key=lambda each: (HEADROOM.get(each.calibrator or "", 0.0), each is chosen))


def worst_figures(expected: Arrays, actual: Arrays, budget: Budget) -> Figures:
    """The SQNR of the worst output, and the worst column of all.

    Args:
        expected: The original's outputs.
        actual: The file's.
        budget: That of its precision.

    Raises:
        GateError: if an output has another shape or type, or holds NaN.
    """
    expected, actual = comparable(expected), comparable(actual)
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


def _rank(probed: Probe | GateError, cases: Sequence[Case], budget: Budget) -> tuple[float, float]:
    """How far its worst column is below what it must have, and its SQNR, in dB; the greatest is the best.

    Minus infinity for a file that does not run, or whose outputs are wrong.
    """
    if isinstance(probed, GateError):
        return -inf, -inf
    try:
        several = [
            worst_figures(case.expected or {}, probed.outputs.run(case.inputs, case.signature), budget)
            for case in cases
        ]
    except GateError:
        return -inf, -inf
    found = worst(several) or Figures()
    columns = inf if found.columns is None else found.columns.sqnr_db
    return min(columns - budget.min_column_sqnr_db, 0.0), found.sqnr_db
