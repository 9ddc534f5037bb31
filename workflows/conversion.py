"""From an open model to the .tflite files of a version: where exporter and tflite meet."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from attnexport.core import DEFAULT_SIGNATURE, ArgumentError, Arrays, Samples, Signature, batched
from attnexport.core.progress import Progress
from attnexport.core.samples import SampleSource
from attnexport.core.signature import Shape
from attnexport.core.wording import worded_all
from attnexport.exporter import ModelSource
from attnexport.parity import Figures, budget_of, evaluate
from attnexport.parity.figures import of_outputs, worst
from attnexport.parity.labelled import judged_output
from attnexport.store import ExportDirectory, VersionEntry
from attnexport.tflite import (
    Conversion,
    ConversionOptions,
    Prepared,
    Recipe,
    Rejected,
    TFLiteRunner,
    convert_prepared,
    delegation,
    fix_shapes,
    prepare_calibration,
    prepare_conversion,
    read_calibration,
    without_shared,
)
from attnexport.tflite.float_model import check_convertible
from attnexport.tflite.metadata import ModelMetadata
from attnexport.tflite.search import SearchResult

from .choices import AUTO
from .conversion_samples import calibration_samples
from .conversion_search import SearchRequest, run_search
from .convert_result import ConvertResult, TFLiteFile
from .rebuilt import check_rebuilt
from .tflite_files import path_of, store, store_search


@dataclass(frozen=True)
class ConversionRequest:
    """What to convert, how, and what it is measured on; see `convert`."""

    recipes: tuple[Recipe, ...]
    search: SearchRequest | None
    signatures: tuple[str, ...]
    batch: int | None
    steps: tuple[int, ...]
    shapes: Mapping[str, Shape]
    new_signature: bool
    calibration: SampleSource | None
    evaluation: SampleSource | None
    labels_for: str | None
    allow_flex: bool
    max_size: int | None
    keep_failed: bool
    force: bool


def convert_source(
    directory: ExportDirectory, entry: VersionEntry, source: ModelSource, request: ConversionRequest, progress: Progress
) -> ConvertResult:
    """Convert an open model, and add the files to its version.

    Args:
        directory: The export.
        entry: The version.
        source: Its original, in float32.
        request: What to convert, and how.
        progress: Called with what is being done now.

    Raises:
        AttnexportError: as `tflite.convert`, if it is not the fault of one recipe; nothing was added then.
    """
    with tempfile.TemporaryDirectory() as temporary:
        saved_model = Path(temporary) / "saved_model"
        signatures = _write_fixed(source, saved_model, request)
        check_convertible(signatures, list(signatures))  # before samples are made for them
        specs = signatures[DEFAULT_SIGNATURE].inputs
        aliases = {old: new for new, old in entry.names.items()}
        evaluation = None if request.evaluation is None else read_calibration(request.evaluation, specs, aliases)
        samples, notes = calibration_samples(
            source, request.recipes, request.search, signatures[DEFAULT_SIGNATURE], request.calibration, aliases
        )
        if request.search is not None and evaluation is not None:
            evaluation = without_shared(evaluation, samples)
        calibration = prepare_calibration(samples, specs, evaluation, synthetic=request.calibration is None)
        notes += [*(evaluation.notes if evaluation else ()), *calibration.notes]
        notes += check_rebuilt(source, calibration.held_out)
        prepared = prepare_conversion(
            saved_model,
            calibration,
            reference=source.reference,
            signatures=signatures,
            options=ConversionOptions(
                reference_name=source.reference_name,
                feeds=source.feeds,
                allow_flex=request.allow_flex,
                max_size=request.max_size,
                keep_failed=directory.root / "failed" if request.keep_failed else None,
                metadata=ModelMetadata(directory.name, entry.version, labels=tuple(entry.source.get("labels") or ())),
            ),
            progress=progress,
        )
    conversions, rejected, search = _quantize(prepared, request, evaluation, progress)
    notes += [note for each in conversions for note in each.notes]
    figures: list[Figures | None] = [None] * len(conversions)
    if evaluation:
        progress(f"evaluating on {len(evaluation)} samples")
        expected = batched(source.reference, evaluation.inputs)
        names = entry.source.get("labels") or ()
        judged = judged_output(expected, evaluation.labels, chosen=request.labels_for, class_names=names)
        figures = [_evaluate(each, evaluation, expected, judged, names) for each in conversions]
        if evaluation.labels is not None and judged is not None and len(expected) > 1:
            notes.append(f"accuracy is that of output {judged!r}")
    states = store(directory, entry, conversions, calibration, force=request.force)
    files = tuple(
        TFLiteFile(path_of(directory, entry, conversion), conversion, state, _partitions(conversion), measured)
        for conversion, state, measured in zip(conversions, states, figures, strict=True)
    )
    is_kept = any(each.recipe.name == AUTO for each in conversions)
    path = store_search(directory, entry, search) if search is not None and is_kept else None
    return ConvertResult(directory.root, entry.version, files, tuple(rejected), worded_all(notes), search, path)


def check_no_strings(entry: VersionEntry, names: Sequence[str]) -> None:
    """Refuse signatures that a .tflite cannot hold.

    Raises:
        ArgumentError: naming the first tensor of strings.
    """
    for signature in (each for artifact in entry.artifacts for each in artifact.signatures):
        strings = [spec for spec in (*signature.inputs, *signature.outputs) if spec.dtype == "string"]
        if signature.name in names and strings:
            raise ArgumentError(
                f"signature {signature.name!r} has strings ({strings[0]}), which LiteRT's CompiledModel does not take; "
                "look words up before the model, and export it from the numbers on, or leave it to TF Serving"
            )


def _write_fixed(source: ModelSource, path: Path, request: ConversionRequest) -> dict[str, Signature]:
    """The signatures with fixed shapes as a SavedModel at `path`."""
    batch, names = request.batch, request.signatures
    if source.origin.saved_model is not None:
        if len(request.steps) > 1:
            raise ArgumentError(
                f"{source.origin.saved_model} is a SavedModel, which cannot be traced at several lengths; give one "
                "--steps, or the Keras model"
            )
        steps = next(iter(request.steps), None)
        return fix_shapes(
            source.origin.saved_model,
            path,
            source.signatures,
            names,
            batch=batch,
            steps=steps,
            shapes=request.shapes,
        )
    names = tuple(each for each in source.signatures if each in names or each.endswith(_lengths(request.steps)))
    if batch is None and source.signatures[DEFAULT_SIGNATURE].fixed_batch is None:
        batch = 1
    return source.write_fixed(path, names, batch)


def _lengths(steps: Sequence[int]) -> tuple[str, ...]:
    """How the names of the signatures for the shorter lengths end."""
    return tuple(f"steps_{each}" for each in steps if each != max(steps))


def _quantize(
    prepared: Prepared, request: ConversionRequest, evaluation: Samples | None, progress: Progress
) -> tuple[list[Conversion], list[Rejected], SearchResult | None]:
    """The conversions by all recipes, those that failed, and the search for another recipe, if one was asked for."""
    rejected: list[Rejected] = []
    recipes, search = list(request.recipes), None
    if request.search is not None:
        search = run_search(prepared, request.search, evaluation, rejected, progress)
        if search.chosen is not None:
            recipes.append(search.recipe)
    conversions = convert_prepared(prepared, recipes, rejected)
    return conversions, rejected, search


def _evaluate(
    conversion: Conversion, samples: Samples, expected: Arrays, judged: str | None, class_names: Sequence[str]
) -> Figures | None:
    """SQNR of the worst output, and what else the judged one has; None if nothing here can run the file."""
    if conversion.graph.flex_operators:
        return None
    with closing(TFLiteRunner(conversion.content)) as runner:
        outputs = batched(runner, samples.inputs)
    step = budget_of(conversion.recipe.precision).step
    measured = {
        name: evaluate(wanted, outputs[name], samples.labels if name == judged else None, step=step).named(class_names)
        for name, wanted in sorted(expected.items())
        if wanted.dtype.kind == "f"
    }
    least = worst(of_outputs(measured.items()))
    if least is None or judged is None:
        return least
    return replace(measured[judged], sqnr_db=least.sqnr_db, columns=least.columns)


def _partitions(conversion: Conversion) -> int | None:
    if conversion.graph.flex_operators:
        return None
    delegated = delegation(conversion.content, DEFAULT_SIGNATURE, conversion.graph)
    return None if delegated is None else delegated.partitions
