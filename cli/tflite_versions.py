"""From a version of an export to its .tflite files: where exporter and tflite meet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core import (
    DEFAULT_SIGNATURE,
    ArgumentError,
    Arrays,
    ExportDirectory,
    Samples,
    SamplesError,
    Signature,
    VersionEntry,
    batched,
    synthetic_samples,
)
from attnexport.exporter import Original, open_original, open_version
from attnexport.parity import distance
from attnexport.tflite import (
    Calibration,
    Conversion,
    Recipe,
    Rejected,
    TFLiteRunner,
    convert,
    delegation,
    fix_shapes,
    prepare_calibration,
    read_calibration,
)

from .evaluation import Evaluation, evaluate
from .tflite_files import path_of, store

_SYNTHETIC = 160  # samples where nobody gave any


@dataclass(frozen=True)
class TFLiteFile:
    """A .tflite of a version: how it was made, where it is, and how it does."""

    path: Path
    conversion: Conversion
    state: str
    partitions: int | None
    evaluation: Evaluation | None


@dataclass(frozen=True)
class TFLiteResult:
    """The .tflite files that passed, the recipes that failed, and notes, a sentence each."""

    directory: ExportDirectory
    version: int
    files: tuple[TFLiteFile, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]


def convert_version(
    directory: ExportDirectory,
    entry: VersionEntry,
    recipes: Sequence[Recipe],
    *,
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
        samples, notes = _samples(original, recipes, fixed[DEFAULT_SIGNATURE], calibration, aliases)
        prepared = prepare_calibration(samples, specs, judged, made_up=calibration is None)
        notes += [*prepared.notes, *_difference(original, prepared)]
        rejected: list[Rejected] = []
        conversions = convert(
            saved_model,
            recipes,
            prepared,
            reference=original.reference,
            signatures=fixed,
            reference_name=original.reference_name,
            allow_flex=allow_flex,
            max_size=max_size,
            keep_failed=directory.root / "failed" if keep_failed else None,
            rejected=rejected,
            on_step=on_step,
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
    return TFLiteResult(directory, entry.version, files, tuple(rejected), tuple(notes))


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


def check_samples(recipes: Sequence[Recipe], kind: str, options: dict[str, Any]) -> None:
    """Refuse what the arguments alone show, before anything is made.

    Args:
        recipes: What is asked for.
        kind: Where the model comes from.
        options: Of the command line.

    Raises:
        ArgumentError: where samples do not exist, or a recipe needs some and there are none.
    """
    for name in ("calibration", "evaluation"):
        path = options[name]
        if path is not None and not Path(path).exists():
            raise ArgumentError(f"samples {path} do not exist")
    needing = [recipe.name for recipe in recipes if recipe.needs_calibration]
    if needing and kind != "preset" and options["calibration"] is None:
        raise ArgumentError(
            f"{needing[0]} needs samples to calibrate with: --calibration FILE, an .npz with one array per "
            "input name, or an .npy for a single input"
        )


def _samples(
    original: Original,
    recipes: Sequence[Recipe],
    signature: Signature,
    calibration: str | None,
    aliases: dict[str, str],
) -> tuple[Samples, list[str]]:
    """Samples for calibration and comparison, and notes on them."""
    if calibration is not None:
        return read_calibration(calibration, signature.inputs, aliases), []
    samples = synthetic_samples(signature.inputs, _SYNTHETIC, integers_below=original.integers_below)
    for name, output in batched(original.reference, samples.inputs).items():
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            told = "; ".join(map(str, original.inputs))
            raise SamplesError(
                f"the original answers made-up samples with NaN or infinity in {name!r}; give samples that it is made "
                f"for, --calibration FILE ({told})"
            )
    calibrated = [recipe.name for recipe in recipes if recipe.needs_calibration]
    use = f"{', '.join(calibrated)} is calibrated, and parity measured," if calibrated else "parity is measured"
    return samples, [f"without --calibration, {use} on {_SYNTHETIC} seeded synthetic samples"]


def _difference(original: Original, calibration: Calibration) -> list[str]:
    """What building a 16-bit model again in float32 changed."""
    if original.narrow is None:
        return []
    before = batched(original.narrow, calibration.held_out)
    after = batched(original.reference, calibration.held_out)
    worst = min(distance(before[name], after[name]).sqnr_db for name in before)
    return [
        f"the model computes in other floats than float32, which TFLite's converter does not take: it was built again "
        f"in float32, whose answers are at SQNR {worst:.1f} dB from its own; parity is measured against that"
    ]


def _evaluate(conversion: Conversion, samples: Samples, expected: Arrays) -> Evaluation | None:
    """Of the output that holds scores, of the first one where none does; None where nothing here can run it."""
    if conversion.graph.flex_operators:
        return None
    with closing(TFLiteRunner(conversion.content)) as runner:
        outputs = batched(runner, samples.inputs)
    floats = [name for name in sorted(expected) if expected[name].dtype.kind == "f"]
    scores = next((name for name in floats if expected[name].ndim == 2), next(iter(floats), None))
    return None if scores is None else evaluate(expected[scores], outputs[scores], samples.labels)


def _partitions(conversion: Conversion) -> int | None:
    if conversion.graph.flex_operators:
        return None
    found = delegation(conversion.content, DEFAULT_SIGNATURE)
    return None if found is None else found.partitions
