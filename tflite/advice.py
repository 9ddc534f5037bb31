"""What helps a recipe whose file has less SQNR than it must have."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from attnexport.core.errors import AttnexportError, GateError
from attnexport.core.signature import Arrays
from attnexport.parity import budget_of

from .candidates import worst_figures
from .float_core import place
from .graph import Graph
from .probe import probe_all
from .quantization import quantize
from .recipes import Recipe

_NEAR_DB = 1.0


def advice(
    model: bytes, graph: Graph, recipe: Recipe, cases: Mapping[str, Arrays], expected: Mapping[str, Arrays]
) -> str:
    """That the recipe's weights are what limits it, so that other samples cannot help; empty if they are not.

    Args:
        model: The float32 .tflite.
        graph: Its contents.
        recipe: The recipe, whose file has too little SQNR.
        cases: Held-out inputs `[n, ...]` by signature.
        expected: The original's outputs.
    """
    needed = budget_of(recipe.precision).min_sqnr_db if recipe.min_sqnr_db is None else recipe.min_sqnr_db
    if needed is None or recipe.layers or not recipe.integer_activations:
        return ""
    alone = Recipe(recipe.name, recipe.weights, "float32", keep_float=recipe.keep_float)
    try:
        content = quantize(model, alone, places=place(graph, alone))
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "weights.tflite"
            file.write_bytes(content)
            [probed] = probe_all([file], list(cases.items()))
        if isinstance(probed, GateError):
            return ""
        budget = budget_of(recipe.precision)
        sqnr_db = min(
            worst_figures(expected[name], probed.outputs.run(inputs, name), budget).sqnr_db
            for name, inputs in cases.items()
        )
    except AttnexportError:  # the recipe's own failure is what counts
        return ""
    if sqnr_db > needed + _NEAR_DB:
        return ""
    return (
        f"{recipe.weights} weights alone, with float activations, leave {sqnr_db:.1f} dB of this model, so other "
        f"samples do not help {recipe.name}: use float16, or -q auto --min-sqnr {needed:g}, which keeps layers "
        "that need it in a finer type"
    )
