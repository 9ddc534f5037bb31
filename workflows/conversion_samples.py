"""The samples that `convert` calibrates with and compares on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attnexport.core.errors import ArgumentError, SamplesError

from .choices import AUTO

if TYPE_CHECKING:
    from attnexport.core import Samples, Signature
    from attnexport.core.samples import SampleSource
    from attnexport.exporter import ModelSource
    from attnexport.tflite import Recipe

    from .conversion_search import SearchRequest

_SYNTHETIC = 160  # samples if none are given


def check_samples(
    search: SearchRequest | None, *, calibration: SampleSource | None, evaluation: SampleSource | None
) -> None:
    """Refuse what the arguments alone show, before anything is loaded.

    Raises:
        ArgumentError: if a file of samples does not exist, or labels are needed and there are none.
    """
    for source in (calibration, evaluation):
        if isinstance(source, str | os.PathLike) and not Path(source).exists():
            raise ArgumentError(f"samples {source} do not exist")
    if search is not None and search.goal.max_accuracy_drop is not None and evaluation is None:
        raise ArgumentError("--max-accuracy-drop needs samples with labels: --evaluation FILE, an .npz with 'labels'")


def check_calibrated(recipes: Sequence[Recipe], search: SearchRequest | None, kind: str) -> None:
    """Refuse recipes that need samples, if none are given and the model is not a preset.

    Raises:
        ArgumentError: naming the first.
    """
    names = _calibrated(recipes, search)
    if names and kind != "preset":
        raise ArgumentError(
            f"{names[0]} needs samples to calibrate with: --calibration FILE, an .npz with one array per "
            "input name, or an .npy for a single input"
        )


def calibration_samples(
    source: ModelSource,
    recipes: Sequence[Recipe],
    search: SearchRequest | None,
    signature: Signature,
    calibration: SampleSource | None,
    aliases: Mapping[str, str],
) -> tuple[Samples, list[str]]:
    """Samples for calibration and comparison, and notes on them."""
    import numpy as np

    from attnexport.core import batched, load_samples, synthetic_samples
    from attnexport.tflite import read_calibration

    if calibration is not None:
        return read_calibration(calibration, signature.inputs, aliases), []
    made = synthetic_samples(signature.inputs, _SYNTHETIC, integers_below=source.integers_below)
    samples = load_samples(made.inputs, signature.inputs)
    for name, output in batched(source.reference, samples.inputs).items():
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            inputs = "; ".join(map(str, source.inputs))
            raise SamplesError(
                f"the original answers synthetic samples with NaN or infinity in {name!r}; give samples that suit it, "
                f"--calibration FILE ({inputs})"
            )
    names = _calibrated(recipes, search)
    use = f"{', '.join(names)} is calibrated, and parity measured," if names else "parity is measured"
    return samples, [f"without --calibration, {use} on {_SYNTHETIC} seeded synthetic samples"]


def _calibrated(recipes: Sequence[Recipe], search: SearchRequest | None) -> list[str]:
    """The names of what needs calibration."""
    names = [recipe.name for recipe in recipes if recipe.needs_samples]
    return names if search is None else [*names, AUTO]
