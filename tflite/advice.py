"""What helps a recipe whose file has less SQNR than it must have."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from attnexport.core.errors import AttnexportError, GateError
from attnexport.core.runner import Runner
from attnexport.parity import Case, budget_of
from attnexport.parity.mixing import mixed_output

from .candidates import worst_figures
from .float_core import place
from .graph import Graph
from .probe import probe_all
from .quantization import quantize
from .recipes import Recipe

_NEAR_DB = 1.0
_OTHER_UNITS = 100.0  # times as wide as another column


def advice(
    recipe: Recipe,
    cases: Sequence[Case],
    weights_db: Callable[[], float | None],
    reference: Runner | None = None,
    problem: str = "",
) -> str:
    """What limits a recipe, if other samples cannot help: the model, its inputs' one scale, or its weights; else empty.

    Args:
        recipe: The recipe, whose file has too little SQNR.
        cases: Held-out samples, with the original's outputs.
        weights_db: Gives what `weights_alone` does.
        reference: Runs the original.
        problem: What its gate said.
    """
    for case in cases:
        if reference is not None and (mixed := mixed_output(reference, case)) is not None:
            return (
                f"output {mixed!r} of a sample changes with the other samples of its batch, of which a .tflite takes "
                "one at a time: have the model compute each sample by itself (what works over axis 0, or over all "
                "axes, mixes them), or fix the batch that it is meant for with --batch N"
            )
    needed = _needed(recipe)
    if needed is None or recipe.layers or not recipe.integer_activations:
        return ""
    if (decision := _decided(cases, problem)) is not None:
        return (
            f"output {decision!r} holds only -1, 0 and 1; a small error flips a value: give it as integers or "
            "booleans, which are judged by the share that agrees"
        )
    if recipe.io_type != "float32" and (named := _of_several_units(cases)):
        return (
            f"input {named!r} has columns of very different ranges, and {recipe.io_type} inputs have one step for all "
            "of them: normalize before the model, give each unit an input of its own, or leave the inputs float32"
        )
    sqnr_db = weights_db()
    if sqnr_db is None or sqnr_db > needed + _NEAR_DB:
        return ""
    return (
        f"{recipe.weights} weights alone, with float activations, leave {sqnr_db:.1f} dB of this model, so other "
        f"samples do not help {recipe.name}: use float16, or -q auto --min-sqnr {needed:g}, which keeps layers "
        "that need it in a finer type"
    )


def is_limited_by_weights(recipe: Recipe, weights_db: Callable[[], float | None]) -> bool:
    """Whether the weights of a recipe, whose file has too little SQNR, leave too little by themselves.

    Args:
        recipe: The recipe.
        weights_db: Gives what `weights_alone` does.
    """
    needed = _needed(recipe)
    if needed is None or recipe.layers:
        return False
    sqnr_db = weights_db()
    return sqnr_db is not None and sqnr_db <= needed + _NEAR_DB


def _needed(recipe: Recipe) -> float | None:
    return budget_of(recipe.precision).min_sqnr_db if recipe.min_sqnr_db is None else recipe.min_sqnr_db


def weights_alone(model: bytes, graph: Graph, recipe: Recipe, cases: Sequence[Case]) -> float | None:
    """The SQNR in dB of a recipe's weights with float activations; None if they cannot be run so.

    Args:
        model: The float32 .tflite.
        graph: Its contents.
        recipe: The recipe.
        cases: Held-out samples, with the original's outputs.
    """
    alone = Recipe(recipe.name, recipe.weights, "float32", keep_float=recipe.keep_float)
    try:
        content = quantize(model, alone, places=place(graph, alone))
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "weights.tflite"
            file.write_bytes(content)
            [probed] = probe_all([file], [(case.signature, case.inputs) for case in cases])
        if isinstance(probed, GateError):
            return None
        budget = budget_of(recipe.precision)
        return min(
            worst_figures(case.expected or {}, probed.outputs.run(case.inputs, case.signature), budget).sqnr_db
            for case in cases
        )
    except AttnexportError:  # the recipe's own failure is what counts
        return None


def _decided(cases: Sequence[Case], problem: str) -> str | None:
    """The float output that the gate refused, if it holds a few whole numbers, as one-hot classes and signs do."""
    for case in cases:
        for name, array in (case.expected or {}).items():
            if f"output {name!r}" in problem and array.dtype.kind == "f" and np.isin(array, (-1, 0, 1)).all():
                return name
    return None


def _of_several_units(cases: Sequence[Case]) -> str | None:
    """The first input that is a table whose columns have very different ranges."""
    for case in cases:
        for name, array in case.inputs.items():
            if array.dtype.kind == "f" and array.ndim == 2 and len(array):
                widths = np.abs(array).max(axis=0)
                if widths.min() > 0 and widths.max() > _OTHER_UNITS * widths.min():
                    return name
    return None
