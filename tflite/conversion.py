"""Conversion: from a SavedModel of fixed shapes to .tflite files by recipes, through the gate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from attnexport.core.errors import ArgumentError, AttnexportError, ModelError
from attnexport.core.files import writing
from attnexport.core.runner import Runner, batched
from attnexport.core.signature import DEFAULT_SIGNATURE, Arrays, Signature
from attnexport.parity import Case, Verdict, distance

from .calibration import Calibration, whole_batches
from .float_core import unmatched
from .float_model import check_convertible, convert_float
from .gate import gate_tflite, told_shares, weight_shares
from .graph import Graph, read_graph
from .quantization import quantize
from .recipes import Recipe
from .recipes.recipe import CALIBRATORS
from .runner import TFLiteRunner
from .statistics import Statistics, collect_statistics, ranges

_MEASURED = 64  # held-out samples on which ways to quantize are measured
_COMPARED = 256  # held-out samples that the gate compares


@dataclass(frozen=True)
class Conversion:
    """A .tflite that passed its gate.

    Attributes:
        recipe: What it was made by.
        content: The file.
        signatures: As they stand in it, quantized types and fixed batch included.
        verdict: Its parity with the original; without findings where nothing here can run it (Flex).
        graph: What is in it.
        calibrator: How ranges were found, None where none were needed.
        weight_algorithm: How weights were rounded, None where they were not.
        peak_memory_bytes: Of a process that ran it, None where nothing here can.
        float_size_bytes: Of the float32 file that it was made from.
        notes: What its owner should know, a sentence each.
    """

    recipe: Recipe
    content: bytes
    signatures: Mapping[str, Signature]
    verdict: Verdict
    graph: Graph
    calibrator: str | None
    weight_algorithm: str | None
    peak_memory_bytes: int | None
    float_size_bytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    content: bytes
    calibrator: str | None
    weight_algorithm: str | None


def convert(
    saved_model: Path,
    recipes: Recipe | Sequence[Recipe],
    calibration: Calibration,
    *,
    reference: Runner,
    signatures: Mapping[str, Signature],
    reference_name: str = "Keras",
    allow_flex: bool = False,
    max_size: int | None = None,
    keep_failed: Path | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> list[Conversion]:
    """Convert a SavedModel once, and quantize it by each recipe.

    Args:
        saved_model: A SavedModel whose signatures have fixed shapes; see `fix_shapes`.
        recipes: How to quantize.
        calibration: What `prepare_calibration` gave: samples for ranges, and others to compare on.
        reference: Runs the original.
        signatures: What to convert, by name, as the SavedModel has it: all take the calibration's inputs.
        reference_name: What the original is called in verdicts.
        allow_flex: Leave operators without a TFLite kernel to TensorFlow's, which only apps that link them can run.
        max_size: The most bytes that a file may have.
        keep_failed: A directory in which a file that fails its gate is kept, as NAME.failed.tflite.
        on_step: Called with what is being done now.

    Returns:
        A conversion for each recipe, in order.

    Raises:
        ArgumentError: for signatures or patterns that do not fit.
        ModelError: where the model cannot be converted.
        SamplesError: where it computes NaN on the calibration samples.
        GateError: where a file is not what was asked for.
        ParityError: where its numbers differ more than its recipe may.
    """
    recipes = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    check_convertible(signatures, list(signatures))
    _check_inputs(signatures, calibration)
    on_step("converting to float32")
    model = convert_float(saved_model, list(signatures), allow_flex=allow_flex)
    graph = read_graph(model)
    _check_patterns(graph, recipes)
    _check_flex(graph, recipes)
    statistics = None
    if any(recipe.needs_calibration for recipe in recipes):
        on_step(f"calibrating on {len(calibration)} samples")
        batch = next(iter(signatures.values())).fixed_batch or 1
        samples = whole_batches(calibration.used, batch)
        statistics = collect_statistics(model, dict.fromkeys(signatures, samples))
    measured = _take(calibration.held_out, _MEASURED)
    compared = _take(calibration.held_out, _COMPARED)
    count = len(next(iter(compared.values())))
    cases = [
        Case(f"{count} held-out samples", compared, name, batched(reference, compared, signature=name))
        for name in signatures
    ]
    found = []
    for recipe in recipes:
        on_step(f"quantizing by {recipe.name}")
        chosen = _choose(model, recipe, statistics, measured, runs=not graph.flex_operators)
        on_step(f"checking {recipe.name}")
        with _kept(chosen.content, recipe, keep_failed) as file:
            passed = gate_tflite(
                file,
                recipe,
                reference,
                cases,
                signatures=signatures,
                reference_name=reference_name,
                allow_flex=allow_flex,
                max_size=max_size,
            )
        found.append(
            Conversion(
                recipe,
                chosen.content,
                passed.probe.signatures if passed.probe else signatures,
                passed.verdict,
                passed.graph,
                chosen.calibrator,
                chosen.weight_algorithm,
                passed.probe.peak_memory_bytes if passed.probe else None,
                len(model),
                tuple(_notes(recipe, passed.graph)),
            )
        )
    return found


def _choose(model: bytes, recipe: Recipe, statistics: Statistics | None, held_out: Arrays, *, runs: bool) -> _Candidate:
    """The best of all ways that a recipe allows, by SQNR against the float32 model on held-out samples."""
    candidates = _candidates(model, recipe, statistics)
    if len(candidates) == 1 or not runs:
        return candidates[0]
    expected = batched(TFLiteRunner(model), held_out)

    def quality(candidate: _Candidate) -> float:
        outputs = batched(TFLiteRunner(candidate.content), held_out)
        figures = [
            distance(expected[name], outputs[name]).sqnr_db for name in expected if expected[name].dtype.kind == "f"
        ]
        return min(figures, default=0.0)

    return max(candidates, key=quality)


def _candidates(model: bytes, recipe: Recipe, statistics: Statistics | None) -> list[_Candidate]:
    algorithms = recipe.weight_algorithms if recipe.weights.startswith("int") else ("minmax",)
    calibrators: Sequence[str | None] = [None]
    if recipe.needs_calibration:
        calibrators = CALIBRATORS if recipe.calibrator == "auto" else [recipe.calibrator]
    found: dict[bytes, _Candidate] = {}
    for calibrator in calibrators:
        bounds = ranges(statistics, calibrator) if statistics is not None and calibrator else None
        for algorithm in algorithms:
            content = quantize(model, recipe, bounds, algorithm)
            told = algorithm if recipe.weights.startswith("int") else None
            found.setdefault(content, _Candidate(content, calibrator, told))
    return list(found.values())


@contextmanager
def _kept(content: bytes, recipe: Recipe, keep_failed: Path | None) -> Iterator[Path]:
    """The content as a file for the gate, which stays under another name where it fails and that is wanted."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"{recipe.name}.tflite"
        file.write_bytes(content)
        try:
            yield file
        except AttnexportError as error:
            if keep_failed is None:
                raise
            kept = keep_failed / f"{recipe.name}.failed.tflite"
            with writing(kept):
                keep_failed.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(content)
            raise type(error)(f"{error} (kept for inspection as {kept})") from error


def _check_inputs(signatures: Mapping[str, Signature], calibration: Calibration) -> None:
    for name, signature in signatures.items():
        names = {spec.name for spec in signature.inputs}
        if names != calibration.used.keys():
            raise ArgumentError(
                f"signature {name!r} takes {', '.join(sorted(names))}, and the calibration samples are of "
                f"{', '.join(sorted(calibration.used))}; convert signatures of other inputs than "
                f"{DEFAULT_SIGNATURE}'s by themselves"
            )


def _notes(recipe: Recipe, graph: Graph) -> list[str]:
    notes = []
    if graph.flex_operators:
        notes.append(
            f"{recipe.name}: no interpreter here can run {', '.join(graph.flex_operators)}, so its numbers were not "
            "compared; an app must link the Flex delegate, and should be tested on its device"
        )
    shares = weight_shares(graph)
    if not recipe.keep_float and shares and shares.get(recipe.weights, 0.0) < 1:
        notes.append(
            f"{recipe.name}: weights are {told_shares(shares)}, for not every operator has {recipe.weights} kernels "
            "(the table of an Embedding is one that has none without calibration)"
        )
    return notes


def _check_flex(graph: Graph, recipes: Sequence[Recipe]) -> None:
    for recipe in recipes:
        if recipe.needs_calibration and graph.flex_operators:
            raise ModelError(
                f"recipe {recipe.name!r} must run the model to calibrate it, and no interpreter here can run "
                f"{', '.join(graph.flex_operators)}; float32, float16, dynamic and int4 need no calibration"
            )


def _check_patterns(graph: Graph, recipes: Sequence[Recipe]) -> None:
    """Refuse what the user wants to keep float and is not there; a recipe's own list is for all models."""
    from .recipes import RECIPES

    for recipe in recipes:
        own = [each for each in recipe.keep_float if not any(each in known.keep_float for known in RECIPES.values())]
        if missing := unmatched(graph, own):
            operators = sorted({operator.name for _, operator in graph.operators})
            raise ModelError(
                f"recipe {recipe.name!r}: keep_float {missing[0]!r} matches no operator; "
                f"there is {', '.join(operators)}"
            )


def _take(inputs: Arrays, count: int) -> Arrays:
    return {name: array[:count] for name, array in inputs.items()}
