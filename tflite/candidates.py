"""The ways that a recipe allows to quantize a model, and the best of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from pathlib import Path

from attnexport.core.errors import GateError
from attnexport.core.signature import Arrays
from attnexport.parity import distance
from attnexport.parity.mismatch import is_float, mismatch, not_finite

from .float_core import Places
from .probe import Probe, probe_all
from .quantization import quantize
from .recipes import Recipe
from .recipes.recipe import CALIBRATORS
from .statistics import Statistics, ranges

_AT_ONCE = 2  # child processes


@dataclass(frozen=True)
class Candidate:
    """A file, and how it came about: None where there was no choice."""

    content: bytes
    calibrator: str | None
    weight_algorithm: str | None


def candidates(model: bytes, recipe: Recipe, statistics: Statistics | None, places: Places) -> list[Candidate]:
    """Every way that a recipe allows, each file once.

    Args:
        model: A float32 .tflite.
        recipe: What to do.
        statistics: Of its activations, where the recipe needs calibration.
        places: Where its exceptions are.

    Raises:
        ModelError: where the quantizer fails.
    """
    algorithms = recipe.weight_algorithms if recipe.weights.startswith("int") else ("minmax",)
    calibrators: Sequence[str | None] = [None]
    if recipe.needs_calibration:
        calibrators = CALIBRATORS if recipe.calibrator == "auto" else [recipe.calibrator]
    found: dict[bytes, Candidate] = {}
    for calibrator in calibrators:
        bounds = ranges(statistics, calibrator) if statistics is not None and calibrator else None
        for algorithm in algorithms:
            content = quantize(model, recipe, bounds, algorithm, places)
            told = algorithm if recipe.weights.startswith("int") else None
            found.setdefault(content, Candidate(content, calibrator, told))
    return list(found.values())


def best(found: Sequence[Candidate], cases: Mapping[str, Arrays], expected: Mapping[str, Arrays]) -> Candidate:
    """The candidate whose worst output has the greatest SQNR; they run in processes of their own.

    Args:
        found: At least one.
        cases: Held-out inputs `[n, ...]` by signature.
        expected: The original's outputs of them.
    """
    if len(found) == 1:
        return found[0]
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(_AT_ONCE) as pool:
        files = [Path(directory) / f"{number}.tflite" for number in range(len(found))]
        for file, each in zip(files, found, strict=True):
            file.write_bytes(each.content)
        # A process starts slower than it runs a file, so each has several.
        size = -(-len(files) // _AT_ONCE)
        shares = [files[start : start + size] for start in range(0, len(files), size)]
        several = pool.map(lambda share: probe_all(share, list(cases.items())), shares)
        probes = [each for share in several for each in share]
    figures = [_told(each, cases, expected) for each in probes]
    return found[figures.index(max(figures))]


def worst_sqnr_db(expected: Arrays, actual: Arrays) -> float:
    """Of the worst output, in dB; infinite where none differs.

    Raises:
        GateError: where one has another shape or type, holds NaN, or differs where it must be equal.
    """
    figures = [inf]
    for name, wanted in expected.items():
        problem = mismatch(wanted, actual[name])
        if problem is None and is_float(wanted) and not_finite(wanted) is None:
            problem = not_finite(actual[name])
        if problem is not None:
            raise GateError(f"output {name!r}: {problem}")
        if is_float(wanted):
            figures.append(distance(wanted, actual[name]).sqnr_db)
    return min(figures)


def _told(probed: Probe | GateError, cases: Mapping[str, Arrays], expected: Mapping[str, Arrays]) -> float:
    """In dB; less than anything for a file that does not run, or gives what it must not."""
    if isinstance(probed, GateError):
        return -inf
    try:
        return min(worst_sqnr_db(expected[name], probed.outputs.run(inputs, name)) for name, inputs in cases.items())
    except GateError:
        return -inf
