"""The samples that `attnexport tflite` calibrates with and compares on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core import ArgumentError, Samples, SamplesError, Signature, batched, synthetic_samples
from attnexport.exporter import Original
from attnexport.parity import distance
from attnexport.tflite import Calibration, Recipe, read_calibration

from .tflite_auto import AUTO, AutoRequest

_SYNTHETIC = 160  # samples where nobody gave any


def check_samples(recipes: Sequence[Recipe], auto: AutoRequest | None, kind: str, options: dict[str, Any]) -> None:
    """Refuse what the arguments alone show, before anything is made.

    Args:
        recipes: What is asked for,
        auto: and what is to be searched for.
        kind: Where the model comes from.
        options: Of the command line.

    Raises:
        ArgumentError: where samples do not exist, or a recipe needs some and there are none.
    """
    for name in ("calibration", "evaluation"):
        path = options[name]
        if path is not None and not Path(path).exists():
            raise ArgumentError(f"samples {path} do not exist")
    if auto is not None and auto.goal.max_accuracy_drop is not None and options["evaluation"] is None:
        raise ArgumentError("--max-accuracy-drop needs samples with labels: --evaluation FILE, an .npz with 'labels'")
    needing = [*(recipe.name for recipe in recipes if recipe.needs_calibration), *([AUTO] if auto else [])]
    if needing and kind != "preset" and options["calibration"] is None:
        raise ArgumentError(
            f"{needing[0]} needs samples to calibrate with: --calibration FILE, an .npz with one array per "
            "input name, or an .npy for a single input"
        )


def calibration_samples(
    original: Original,
    calibrated: Sequence[str],
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
    use = f"{', '.join(calibrated)} is calibrated, and parity measured," if calibrated else "parity is measured"
    return samples, [f"without --calibration, {use} on {_SYNTHETIC} seeded synthetic samples"]


def difference_from_narrow(original: Original, calibration: Calibration) -> list[str]:
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
