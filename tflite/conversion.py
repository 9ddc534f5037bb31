"""Conversion of a SavedModel of fixed shapes to .tflite files by recipes, through the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from attnexport.core.errors import AttnexportError, ModelError, ParityError
from attnexport.core.progress import Progress, silent
from attnexport.core.runner import Runner
from attnexport.core.signature import Signature
from attnexport.core.wording import worded
from attnexport.parity import Verdict

from .advice import advice, is_limited_by_weights, weights_alone
from .calibration import Calibration
from .candidates import best, candidates
from .float_core import place
from .gate import format_shares, gate_tflite, weight_shares
from .graph import Graph
from .kept_files import gated_file, kept_path
from .loops import check_loops, loop_note
from .metadata import ModelMetadata, add_metadata
from .options import ConversionOptions
from .preparation import Prepared, check_patterns, prepare_conversion
from .probe import interpreter_child
from .processor import int8_note
from .recipes import Recipe
from .recipes.recipe import FITTED, INTEGER_BITS
from .small_weights import SHARE_OF_WEIGHTS, keeps_small

_MOST_WEIGHTS = 0.95  # of the weights


@dataclass(frozen=True)
class Rejected:
    """A recipe whose file did not pass its gate, or could not be made.

    Attributes:
        recipe: The recipe.
        error: Why there is no file.
        advice: What helps in this case, if that is known.
    """

    recipe: Recipe
    error: AttnexportError
    advice: str = ""


@dataclass(frozen=True)
class Conversion:
    """A .tflite that passed its gate.

    Attributes:
        recipe: The recipe.
        content: The file.
        signatures: The file's signatures, with quantized types and fixed batch.
        verdict: Parity with the original; without findings if no interpreter here runs the file (Flex).
        graph: The file's contents.
        calibrator: How ranges were found; None if none were needed.
        weight_algorithm: How weights were rounded; None if they were not.
        peak_memory_bytes: Peak memory of a process that ran the file; None if no interpreter here does.
        float_size_bytes: Size of the float32 file it was made from.
        notes: What the user should know, a sentence each.
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
    options: ConversionOptions | None = None,
    rejected: list[Rejected] | None = None,
    progress: Progress = silent,
) -> list[Conversion]:
    """Convert a SavedModel once, and quantize it by each recipe.

    Args:
        saved_model: A SavedModel whose signatures have fixed shapes; see `fix_shapes`.
        recipes: How to quantize.
        calibration: Samples for ranges, and others to compare on, as `prepare_calibration` returns them.
        reference: Runs the original.
        signatures: The SavedModel's signatures to convert, by name. All take the calibration's inputs.
        options: What else is wanted; the defaults of ConversionOptions if None.
        rejected: List that recipes that fail are appended to, while the others go on; the first failure is raised if
            None.
        progress: Called with what is being done now.

    Returns:
        A conversion for each recipe that passed, in order.

    Raises:
        ArgumentError: for signatures or patterns that do not fit.
        ModelError: if the model cannot be converted.
        SamplesError: if it computes NaN on the calibration samples.
        GateError: if a file is not what the recipe claims.
        ParityError: if its outputs differ more than its recipe allows.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> from attnexport.core import Samples
        >>> from attnexport.exporter import SavedModelRunner
        >>> from attnexport.tflite import RECIPES, fix_shapes, prepare_calibration
        >>> weights = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
        >>> layer = tf.function(lambda x: {"y": x @ weights}, [tf.TensorSpec((None, 16), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=layer)
        >>> original = SavedModelRunner(Path("model"))
        >>> signatures = fix_shapes(Path("model"), Path("fixed"), original.signatures, ["serving_default"])
        >>> samples = Samples({"x": np.random.default_rng(1).standard_normal((64, 16)).astype(np.float32)})
        >>> calibration = prepare_calibration(samples, signatures["serving_default"].inputs)
        >>> [conversion] = convert(
        ...     Path("fixed"), RECIPES["dynamic"], calibration, reference=original, signatures=signatures
        ... )
        >>> bool(conversion.verdict), conversion.signatures["serving_default"].fixed_batch
        (True, 1)
    """
    prepared = prepare_conversion(
        saved_model, calibration, reference=reference, signatures=signatures, options=options, progress=progress
    )
    return convert_prepared(prepared, recipes, rejected)


def convert_prepared(
    prepared: Prepared, recipes: Recipe | Sequence[Recipe], rejected: list[Rejected] | None = None
) -> list[Conversion]:
    """Quantize a prepared model by each recipe.

    Result, errors and `rejected` are those of `convert`.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> from attnexport.core import Samples
        >>> from attnexport.exporter import SavedModelRunner
        >>> from attnexport.tflite import RECIPES, fix_shapes, prepare_calibration
        >>> weights = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
        >>> layer = tf.function(lambda x: {"y": x @ weights}, [tf.TensorSpec((None, 16), tf.float32, name="x")])
        >>> tf.saved_model.save(tf.Module(), "model", signatures=layer)
        >>> original = SavedModelRunner(Path("model"))
        >>> signatures = fix_shapes(Path("model"), Path("fixed"), original.signatures, ["serving_default"])
        >>> samples = Samples({"x": np.random.default_rng(1).standard_normal((64, 16)).astype(np.float32)})
        >>> calibration = prepare_calibration(samples, signatures["serving_default"].inputs)
        >>> from attnexport.tflite import prepare_conversion
        >>> prepared = prepare_conversion(Path("fixed"), calibration, reference=original, signatures=signatures)
        >>> small, exact = convert_prepared(prepared, [RECIPES["int8"], RECIPES["float32"]])
        >>> len(small.content) < len(exact.content) == small.float_size_bytes
        True
    """
    recipes = [recipes] if isinstance(recipes, Recipe) else list(recipes)
    conversions = []
    for number, recipe in enumerate(recipes, 1):
        place_of = f" ({number} of {len(recipes)})" if len(recipes) > 1 else ""
        try:
            conversions.append(_convert(prepared, recipe, place_of))
        except AttnexportError as error:
            is_parity = isinstance(error, ParityError)
            weights_db = cache(partial(weights_alone, prepared.model, prepared.graph, recipe, prepared.few_cases))
            if is_parity and (fitted := _fitted(prepared, recipe, place_of, weights_db)) is not None:
                conversions.append(fitted)
                continue
            if rejected is None:
                raise
            helps = advice(recipe, prepared.few_cases, weights_db, prepared.reference, str(error)) if is_parity else ""
            rejected.append(Rejected(recipe, error, worded(helps)))
    return conversions


def _fitted(
    prepared: Prepared, recipe: Recipe, place_of: str, weights_db: Callable[[], float | None]
) -> Conversion | None:
    """The conversion with weights that are fitted to the user's samples, if those rounded to the nearest are the limit.

    None if it fails as well, or would not help.
    """
    by_nearest = recipe.weights in INTEGER_BITS and recipe.weight_algorithms == ("minmax",)
    if not by_nearest or not prepared.calibration.given or prepared.graph.flex_operators:
        return None
    if not is_limited_by_weights(recipe, weights_db):
        return None
    try:
        found = _convert(prepared, replace(recipe, weight_algorithms=(FITTED,)), place_of, is_kept=False)
    except AttnexportError:  # the recipe's own failure is what counts
        return None
    if (directory := prepared.options.keep_failed) is not None:
        kept_path(recipe, directory).unlink(missing_ok=True)
    note = f"{recipe.name} has too little SQNR with weights that are rounded to the nearest; they were fitted (gptq)"
    return replace(found, recipe=recipe, notes=(*found.notes, note))


def _convert(prepared: Prepared, recipe: Recipe, place_of: str, *, is_kept: bool = True) -> Conversion:
    """Quantize by one recipe; `place_of` says which it is of several."""
    graph, options = prepared.graph, prepared.options
    check_loops(graph, recipe)
    check_patterns(graph, [recipe])
    _check_flex(graph, recipe)
    statistics = prepared.statistics if recipe.needs_calibration else None
    prepared.progress(f"quantizing by {recipe.name}{place_of}")
    places = place(graph, recipe)
    ways = candidates(prepared.model, graph, recipe, statistics, places, prepared.fitter_for(recipe))
    # One process measures the candidates and runs the gate; each recipe has its own, whose peak memory is told.
    with interpreter_child() as child:
        chosen = ways[0]
        if not graph.flex_operators:
            cases = prepared.few_cases if len({each.calibrator for each in ways}) < 2 else prepared.cases_of_ranges
            held_out = prepared.calibration.held_out_count
            chosen = best(ways, cases, recipe.precision, child, needed_db=recipe.min_sqnr_db, held_out=held_out)
        prepared.progress(f"checking {recipe.name}{place_of}")
        content = _described(chosen.content, options.metadata, recipe.name)
        with gated_file(content, recipe, options.keep_failed if is_kept else None) as file:
            passed = gate_tflite(
                file,
                recipe,
                prepared.reference,
                prepared.cases,
                signatures=prepared.signatures,
                places=places,
                reference_name=options.reference_name,
                allow_flex=options.allow_flex,
                max_size=options.max_size,
                child=child,
                class_names=() if options.metadata is None else options.metadata.labels,
            )
    return Conversion(
        recipe,
        content,
        passed.probe.signatures if passed.probe else prepared.signatures,
        passed.verdict,
        passed.graph,
        chosen.calibrator,
        chosen.weight_algorithm,
        passed.probe.peak_memory_bytes if passed.probe else None,
        prepared.float_size_bytes,
        tuple(_notes(recipe, passed.graph, prepared.calibration)),
    )


def _described(content: bytes, metadata: ModelMetadata | None, recipe: str) -> bytes:
    return content if metadata is None else add_metadata(content, replace(metadata, recipe=recipe))


def quantized(prepared: Prepared, recipe: Recipe) -> bytes:
    """The file of a recipe, without any check; of a recipe that allows several ways, the first."""
    statistics = prepared.statistics if recipe.needs_calibration else None
    places, fitter = place(prepared.graph, recipe), prepared.fitter_for(recipe)
    return candidates(prepared.model, prepared.graph, recipe, statistics, places, fitter)[0].content


def _notes(recipe: Recipe, graph: Graph, calibration: Calibration) -> list[str]:
    notes = []
    if recipe.needs_samples and recipe.calibrated_on not in (None, calibration.content_hash):
        notes.append(f"{recipe.name}: the recipe was found with other calibration samples; these give other figures")
    notes += calibration.doubts(recipe.name) if recipe.needs_calibration else []
    notes += filter(None, [loop_note(graph, recipe), int8_note(graph, recipe)])
    if graph.flex_operators:
        notes.append(
            f"{recipe.name}: no interpreter here can run {', '.join(graph.flex_operators)}, so its outputs were not "
            "compared; an app must link the Flex delegate, and should be tested on its device"
        )
    shares = weight_shares(graph)
    most = 1 - SHARE_OF_WEIGHTS if keeps_small(recipe) else _MOST_WEIGHTS
    if shares and not recipe.layers and recipe.weights != "float32" and shares.get(recipe.weights, 0) < most:
        left = sorted(
            {
                operator.name
                for subgraph, operator in graph.operators
                if any(tensor.dtype != recipe.weights for tensor in subgraph.weights(operator))
            }
        )
        notes.append(
            f"{recipe.name}: weights are {format_shares(shares)}; {', '.join(left)} have no {recipe.weights} kernels "
            f"or are kept float{': by the recipe, or as they are small' if keeps_small(recipe) else ' by the recipe'}"
        )
    return notes


def _check_flex(graph: Graph, recipe: Recipe) -> None:
    if recipe.needs_samples and graph.flex_operators:
        raise ModelError(
            f"recipe {recipe.name!r} runs the model to calibrate it, and no interpreter here can run "
            f"{', '.join(graph.flex_operators)}; float32, float16, dynamic and int4 need no calibration"
        )
