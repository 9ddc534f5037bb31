"""From a version of an export to its .tflite files: where exporter and tflite meet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from attnexport.core import DEFAULT_SIGNATURE, ArgumentError, Arrays, Samples, Signature, batched
from attnexport.exporter import Original, open_original, open_version
from attnexport.parity import Figures, evaluate
from attnexport.parity.metrics import scores_name
from attnexport.store import ExportDirectory, VersionEntry
from attnexport.tflite import (
    Conversion,
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
from attnexport.tflite.search import SearchResult

from .tflite_auto import AUTO, AutoRequest, run_search
from .tflite_files import path_of, store, store_search
from .tflite_samples import calibration_samples, difference_from_narrow


@dataclass(frozen=True)
class TFLiteFile:
    """A .tflite of a version: how it was made, where it is, and how it does."""

    path: Path
    conversion: Conversion
    state: str
    partitions: int | None
    evaluation: Figures | None


@dataclass(frozen=True)
class TFLiteResult:
    """The .tflite files that passed, the recipes that failed, and notes, a sentence each.

    `search` is what `--quantize auto` found, `recipe_path` where its recipe is.
    """

    directory: ExportDirectory
    version: int
    files: tuple[TFLiteFile, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]
    search: SearchResult | None = None
    recipe_path: Path | None = None


def convert_version(
    directory: ExportDirectory,
    entry: VersionEntry,
    recipes: Sequence[Recipe],
    *,
    auto: AutoRequest | None = None,
    signatures: Sequence[str] = (),
    batch: int | None = None,
    steps: int | None = None,
    calibration: str | None = None,
    evaluation: str | None = None,
    allow_flex: bool = False,
    max_size: int | None = None,
    keep_failed: bool = False,
    force: bool = False,
    on_step: Callable[[str], None] = lambda step: None,
) -> TFLiteResult:
    """Convert the original of a version by recipes, and add the files to it.

    Args:
        directory: The export.
        entry: The version.
        recipes: How to quantize.
        auto: What recipe to search for besides.
        signatures: Signatures beside `serving_default`.
        batch: The batch to fix; 1 where None, or what the model has fixed.
        steps: Fix free steps to this.
        calibration: Samples; made up ones where None.
        evaluation: Samples to judge on beside.
        allow_flex: Leave operators without a TFLite kernel to TensorFlow's.
        max_size: The most bytes that a file may have.
        keep_failed: Keep a file that fails its gate under `failed/`.
        force: Replace files of the same name and other content.
        on_step: Called with what is being done now.

    Raises:
        AttnexportError: as `tflite.convert`, where it is not the fault of one recipe; nothing was added then.
    """
    on_step("opening the original")
    loaded = open_version(directory, entry)
    with closing(open_original(loaded, steps=steps)) as original, tempfile.TemporaryDirectory() as temporary:
        names = list(dict.fromkeys([DEFAULT_SIGNATURE, *signatures]))
        _refuse_strings(entry, names)
        saved_model = Path(temporary) / "saved_model"
        fixed = _write_fixed(original, saved_model, names, batch, steps)
        specs = fixed[DEFAULT_SIGNATURE].inputs
        aliases = {old: new for new, old in entry.names.items()}
        judged = None if evaluation is None else read_calibration(evaluation, specs, aliases)
        calibrated = [recipe.name for recipe in recipes if recipe.needs_calibration] + [AUTO] * (auto is not None)
        samples, notes = calibration_samples(original, calibrated, fixed[DEFAULT_SIGNATURE], calibration, aliases)
        if auto is not None and judged is not None:
            judged = without_shared(judged, samples)
        prepared = prepare_calibration(samples, specs, judged, made_up=calibration is None)
        notes += [*(judged.notes if judged else ()), *prepared.notes, *difference_from_narrow(original, prepared)]
        ready = prepare_conversion(
            saved_model,
            prepared,
            reference=original.reference,
            signatures=fixed,
            reference_name=original.reference_name,
            allow_flex=allow_flex,
            on_step=on_step,
        )
        failed = directory.root / "failed" if keep_failed else None
        rejected: list[Rejected] = []
        found = None if auto is None else run_search(ready, auto, judged, rejected, failed, on_step)
        recipes = [*recipes, *([found.recipe] if found is not None and found.chosen is not None else [])]
        conversions = convert_prepared(
            ready, recipes, allow_flex=allow_flex, max_size=max_size, keep_failed=failed, rejected=rejected
        )
        notes += [note for each in conversions for note in each.notes]
        if judged:
            on_step(f"evaluating on {len(judged)} samples")
        expected = batched(original.reference, judged.inputs) if judged else {}
        evaluations = [_evaluate(each, judged, expected) if judged else None for each in conversions]
    states = store(directory, entry, conversions, prepared, force=force)
    files = tuple(
        TFLiteFile(path_of(directory, entry, conversion), conversion, state, _partitions(conversion), figures)
        for conversion, state, figures in zip(conversions, states, evaluations, strict=True)
    )
    kept = any(each.recipe.name == AUTO for each in conversions)
    path = store_search(directory, entry, found) if found is not None and kept else None
    return TFLiteResult(directory, entry.version, files, tuple(rejected), tuple(notes), found, path)


def _write_fixed(
    original: Original, path: Path, names: Sequence[str], batch: int | None, steps: int | None
) -> dict[str, Signature]:
    """The signatures with fixed shapes as a SavedModel at `path`."""
    if original.write_fixed is None:
        return fix_shapes(original.saved_model or Path(), path, original.signatures, names, batch=batch, steps=steps)
    if batch is None and original.signatures[DEFAULT_SIGNATURE].fixed_batch is None:
        batch = 1
    unknown = [name for name in names if name not in original.signatures]
    if unknown:
        raise ArgumentError(
            f"the model offers no signature {unknown[0]!r}; it offers {', '.join(sorted(original.signatures))}"
        )
    return original.write_fixed(path, names, batch)


def _refuse_strings(entry: VersionEntry, names: Sequence[str]) -> None:
    for artifact in entry.artifacts:
        for signature in artifact.signatures:
            strings = [spec for spec in (*signature.inputs, *signature.outputs) if spec.dtype == "string"]
            if signature.name in names and strings:
                raise ArgumentError(
                    f"signature {signature.name!r} has strings ({strings[0]}), which a .tflite cannot work on; "
                    "leave it to TF Serving"
                )


def _evaluate(conversion: Conversion, samples: Samples, expected: Arrays) -> Figures | None:
    """Of the output that holds scores, of the first one where none does; None where nothing here can run it."""
    if conversion.graph.flex_operators:
        return None
    with closing(TFLiteRunner(conversion.content)) as runner:
        outputs = batched(runner, samples.inputs)
    floats = [name for name in sorted(expected) if expected[name].dtype.kind == "f"]
    scores = scores_name(expected) or next(iter(floats), None)
    return None if scores is None else evaluate(expected[scores], outputs[scores], samples.labels)


def _partitions(conversion: Conversion) -> int | None:
    if conversion.graph.flex_operators:
        return None
    found = delegation(conversion.content, DEFAULT_SIGNATURE)
    return None if found is None else found.partitions
