"""Conversion: from a SavedModel of fixed shapes to .tflite files by recipes, through the gate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from attnexport.core.errors import AttnexportError, ModelError
from attnexport.core.os_errors import writing
from attnexport.core.runner import Runner
from attnexport.core.signature import Signature
from attnexport.parity import Verdict
from attnexport.store.files import replacing

from .calibration import Calibration
from .candidates import best, candidates
from .float_core import place
from .gate import gate_tflite, told_shares, weight_shares
from .graph import Graph
from .preparation import Prepared, check_patterns, prepare_conversion, take
from .recipes import Recipe

_MEASURED = 64  # held-out samples on which ways to quantize are measured


@dataclass(frozen=True)
class Rejected:
    """A recipe whose file did not pass its gate, or could not be made."""

    recipe: Recipe
    error: AttnexportError


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
    rejected: list[Rejected] | None = None,
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
        rejected: Where recipes that fail are put, the others going on; the first failure is raised where None.
        on_step: Called with what is being done now.

    Returns:
        A conversion for each recipe that passed, in order.

    Raises:
        ArgumentError: for signatures or patterns that do not fit.
        ModelError: where the model cannot be converted.
        SamplesError: where it computes NaN on the calibration samples.
        GateError: where a file is not what was asked for.
        ParityError: where its numbers differ more than its recipe may.
    """
    prepared = prepare_conversion(
        saved_model,
        calibration,
        reference=reference,
        signatures=signatures,
        reference_name=reference_name,
        allow_flex=allow_flex,
        on_step=on_step,
    )
    return convert_prepared(
        prepared, recipes, allow_flex=allow_flex, max_size=max_size, keep_failed=keep_failed, rejected=rejected
    )


def convert_prepared(
    prepared: Prepared,
    recipes: Recipe | Sequence[Recipe],
    *,
    allow_flex: bool = False,
    max_size: int | None = None,
    keep_failed: Path | None = None,
    rejected: list[Rejected] | None = None,
) -> list[Conversion]:
    """Quantize by each recipe what `prepare_conversion` gave; arguments, result and errors are those of `convert`."""
    recipes = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    graph = prepared.graph
    check_patterns(graph, recipes)
    _check_flex(graph, recipes)
    statistics = prepared.statistics if any(recipe.needs_calibration for recipe in recipes) else None
    few = {case.signature: take(case.inputs, _MEASURED) for case in prepared.cases}
    answers = {case.signature: take(case.expected or {}, _MEASURED) for case in prepared.cases}
    found = []
    for recipe in recipes:
        try:
            prepared.on_step(f"quantizing by {recipe.name}")
            places = place(graph, recipe)
            ways = candidates(prepared.model, recipe, statistics, places)
            chosen = ways[0] if graph.flex_operators else best(ways, few, answers)
            prepared.on_step(f"checking {recipe.name}")
            with _kept(chosen.content, recipe, keep_failed) as file:
                passed = gate_tflite(
                    file,
                    recipe,
                    prepared.reference,
                    prepared.cases,
                    signatures=prepared.signatures,
                    places=places,
                    reference_name=prepared.reference_name,
                    allow_flex=allow_flex,
                    max_size=max_size,
                )
        except AttnexportError as error:
            if rejected is None:
                raise
            rejected.append(Rejected(recipe, error))
            continue
        found.append(
            Conversion(
                recipe,
                chosen.content,
                passed.probe.signatures if passed.probe else prepared.signatures,
                passed.verdict,
                passed.graph,
                chosen.calibrator,
                chosen.weight_algorithm,
                passed.probe.peak_memory_bytes if passed.probe else None,
                len(prepared.model),
                tuple(_notes(recipe, passed.graph, prepared.calibration)),
            )
        )
    return found


def keep(content: bytes, recipe: Recipe, directory: Path) -> Path:
    """Keep a file that is not what was asked for, to be looked at; gives its path.

    Raises:
        StorageError: where the file system refuses.
    """
    path = directory / f"{recipe.name}.failed.tflite"
    with writing(path):
        directory.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return path


def quantized(prepared: Prepared, recipe: Recipe) -> bytes:
    """The file that a recipe gives, or the first one where it allows several, without any check."""
    statistics = prepared.statistics if recipe.needs_calibration else None
    return candidates(prepared.model, recipe, statistics, place(prepared.graph, recipe))[0].content


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
            kept = keep(content, recipe, keep_failed)
            raise type(error)(f"{error} (kept for inspection as {kept})") from error


def _notes(recipe: Recipe, graph: Graph, calibration: Calibration) -> list[str]:
    notes = []
    if recipe.needs_calibration and recipe.calibrated_on not in (None, calibration.content_hash):
        notes.append(
            f"{recipe.name}: the recipe was found with other calibration samples; these give other ranges, and a file "
            "with other figures than were promised"
        )
    if graph.flex_operators:
        notes.append(
            f"{recipe.name}: no interpreter here can run {', '.join(graph.flex_operators)}, so its numbers were not "
            "compared; an app must link the Flex delegate, and should be tested on its device"
        )
    shares = weight_shares(graph)
    if not recipe.layers and recipe.weights != "float32" and shares and shares.get(recipe.weights, 0.0) < 1:
        left = sorted(
            {
                operator.name
                for subgraph, operator in graph.operators
                if any(tensor.dtype != recipe.weights for tensor in subgraph.weights(operator))
            }
        )
        notes.append(
            f"{recipe.name}: weights are {told_shares(shares)}: those of {', '.join(left)} have no {recipe.weights} "
            "kernels or are kept float"
        )
    return notes


def _check_flex(graph: Graph, recipes: Sequence[Recipe]) -> None:
    for recipe in recipes:
        if recipe.needs_calibration and graph.flex_operators:
            raise ModelError(
                f"recipe {recipe.name!r} must run the model to calibrate it, and no interpreter here can run "
                f"{', '.join(graph.flex_operators)}; float32, float16, dynamic and int4 need no calibration"
            )
