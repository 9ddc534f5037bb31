"""A model that was rebuilt in float32 for TFLite's converter, held against the one that it was."""

from __future__ import annotations

import numpy as np

from attnexport.core import Arrays, ModelError, batched
from attnexport.core.signature import Array
from attnexport.exporter import ModelSource
from attnexport.parity import Case, Figures, compare, distance

_ULPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}  # of 1.0
_NOISE_DB = 12.0  # four times the original's own noise, as in the budgets of float32


def check_rebuilt(source: ModelSource, inputs: Arrays) -> list[str]:
    """Compare a rebuilt model with the original, and say what rebuilding changed.

    Args:
        source: The model; one that was not rebuilt is not compared.
        inputs: Samples `[n, ...]` by input name.

    Returns:
        A note, none if nothing was rebuilt.

    Raises:
        ModelError: if the rebuilt model is further from the original than the original's precision explains.
    """
    if source.narrow is None:
        return []
    before = {name: _wide(array) for name, array in batched(source.narrow, inputs).items()}
    case = Case("samples", inputs, expected=before)
    verdict = compare(source.narrow, source.reference, [case], precision=source.narrow_precision)
    worst = verdict.worst
    figures = worst.measured if worst else None
    difference = f"SQNR {figures.sqnr_db:.1f} dB" if figures else "other integers" if worst else "nothing to compare"
    what = "has LoRA adapters" if source.has_adapters else "computes in another precision"
    if source.quantized_by:
        what = f"was quantized by Keras ({source.quantized_by})"
    if not verdict:
        raise ModelError(
            f"the model {what}; rebuilt in float32, the only precision that TFLite's converter takes, it computes "
            f"something else ({verdict.failures[0].problem or difference}): {_cause(source, case, figures)}"
        )
    if source.has_adapters:
        return [f"the model {what}, which were merged into its weights: its answers are at {difference} from before"]
    how = "with its weights dequantized" if source.quantized_by else "with the same weights"
    return [
        f"the model {what}, and TFLite's converter takes float32 alone: it was rebuilt in float32 {how}, whose answers "
        f"are at {difference} from its own; parity is measured against that"
    ]


def _cause(source: ModelSource, case: Case, figures: Figures | None) -> str:
    """Why a rebuilt model is far from the original, and what would help."""
    noise_db = _noise_db(source, case)
    if figures is not None and figures.sqnr_db >= noise_db - _NOISE_DB:
        return (
            f"its own answers are at {noise_db:.1f} dB when its inputs move by one step of {source.narrow_precision}: "
            "most of what it computes is rounding. Scale its inputs to a few units around 0, or build and train it in "
            "float32, or serve the SavedModel"
        )
    return (
        "a layer keeps a state that Keras neither saves nor makes anew. Save and load it with save_own_variables and "
        "load_own_variables, or serve the SavedModel"
    )


def _wide(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16", "float64") else array


def _noise_db(source: ModelSource, case: Case) -> float:
    """The SQNR of the original to itself, in dB, when its inputs move by one ulp of its precision."""
    ulp = _ULPS.get(source.narrow_precision)
    if ulp is None or source.narrow is None:
        return np.inf
    signs = np.random.default_rng(0)
    moved = {
        name: (array * (1 + ulp * signs.choice([-1, 1], array.shape))).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in case.inputs.items()
    }
    again = batched(source.narrow, moved)
    return min(
        (
            distance(each, _wide(again[name])).sqnr_db
            for name, each in (case.expected or {}).items()
            if each.dtype.kind == "f"
        ),
        default=np.inf,
    )
