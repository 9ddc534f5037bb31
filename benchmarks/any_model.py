"""attnexport beside TFLiteConverter on a folder of models, as a table in Markdown.

    python benchmarks/any_model.py FOLDER [--int8] [NAME...]

A model is a file with `build()`, which returns it, and `samples(n)`, its inputs by name. Both sides get the live model
and convert it to float32, or to int8 with the same samples; each file is run by LiteRT and compared with Keras.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from zoo_measure import least_r2

from attnexport.core.errors import AttnexportError
from attnexport.core.signature import TensorSpec
from attnexport.workflows.convert import convert

_CALIBRATE, _COMPARE = 120, 24
_LOST = 0.5  # R² of a column
_LONGEST = 110  # characters of a message
# float32 has 120 dB and more; models in 16 bits, or that Keras quantized, differ from their float32 form.
_RIGHT_DB = {"float32": 40.0, "int8": 25.0}


def main(folder: Path, names: list[str], recipe: str) -> None:
    """Print a row for each model, as soon as it is known."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print("| model | attnexport | TFLiteConverter |\n|---|---|---|")
    for path in sorted(folder.glob("*.py")):
        if names and path.stem not in names:
            continue
        spec = importlib.util.spec_from_file_location(f"case_{path.stem.replace('-', '_')}", path)
        if spec is None or spec.loader is None:
            continue
        case: Any = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = case
        try:
            spec.loader.exec_module(case)
            keras.utils.set_random_seed(0)
            model, samples = case.build(), case.samples(_CALIBRATE + _COMPARE)
        except BaseException:  # a script of another kind, or a package that is missing
            continue
        few = {name: each[-_COMPARE:] if np.ndim(each) else each for name, each in samples.items()}
        right = _right(case, model, few)
        given = {name: each[:_CALIBRATE] if np.ndim(each) else each for name, each in samples.items()}
        ours, theirs = (_cell(way, recipe, model, given, few, right) for way in (_ours, _theirs))
        print(f"| {path.stem} | {ours} | {theirs} |", flush=True)


def _right(case: Any, model: Any, few: dict[str, Any]) -> list[Any]:
    if hasattr(case, "call"):
        outputs = case.call(model, few)
    else:
        tensors = {name: tf.convert_to_tensor(each) for name, each in few.items()}
        inputs: Any = tensors
        if not isinstance(model.input, dict):
            inputs = [tensors[each.name] for each in model.inputs] if len(tensors) > 1 else next(iter(tensors.values()))
        outputs = model(inputs, training=False)  # layers that augment do so by default
    return [np.asarray(each) for each in keras.tree.flatten(outputs)]


def _cell(way: Callable[..., bytes], recipe: str, model: Any, samples: Any, few: Any, right: list[Any]) -> str:
    try:
        return _compared(way(recipe, model, samples), few, right, _RIGHT_DB[recipe])
    except Exception as error:  # the table shows it
        text = " ".join(str(error).split())
        kind = "refused" if isinstance(error, AttnexportError) else type(error).__name__
        return f"{kind}: {text[:_LONGEST].replace('|', '/')}"


def _ours(recipe: str, model: Any, samples: Any) -> bytes:
    declared = []
    if not getattr(model, "inputs", None):
        names = [name for name in inspect.signature(model.call).parameters if name in samples]
        declared = [TensorSpec(name, str(samples[name].dtype), (None, *samples[name].shape[1:])) for name in names]
    known = [each for each in getattr(model, "inputs", None) or [] if None in (each.shape or ())[1:]]
    shapes = {each.name: (None, *samples[each.name].shape[1:]) for each in known if each.name in samples}
    with tempfile.TemporaryDirectory() as folder:
        result = convert(model, recipe, calibration=samples, output=folder, name="m", inputs=declared, shapes=shapes)
        return result.files[0].path.read_bytes()


def _theirs(recipe: str, model: Any, samples: Any) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if recipe == "int8":
        names = [each.name for each in model.inputs]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [samples[name][at : at + 1] if np.ndim(samples[name]) else samples[name] for name in names]
            for at in range(_CALIBRATE)
        )
    with contextlib.redirect_stdout(io.StringIO()):  # it describes what it saves
        return bytes(converter.convert())


def _compared(content: bytes, few: dict[str, Any], right: list[Any], least: float) -> str:
    """How near a file is to Keras on the outputs, which are matched by shape and value."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    takes, rows = runner.get_input_details(), []
    known = {"".join(c if c.isalnum() else "_" for c in name): each for name, each in few.items()}
    arrays = [known.get("".join(c if c.isalnum() else "_" for c in name)) for name in takes]
    if any(each is None for each in arrays):
        arrays = list(few.values()) if len(few) == len(takes) == 1 else arrays
    for index in range(_COMPARE):
        rows.append(
            runner(
                **{
                    name: np.asarray(each[index : index + 1] if np.ndim(each) else each, takes[name]["dtype"])
                    for name, each in zip(takes, arrays, strict=True)
                }
            )
        )
    outputs = [np.concatenate([row[name] for row in rows]) for name in rows[0]]
    figures = []
    for wanted in right:
        fitting = [each for each in outputs if each.shape == wanted.shape]
        if not fitting:
            return "wrong: an output is missing"
        best = max(fitting, key=lambda each: _decibels(wanted, each))
        figures.append(_decibels(wanted, best))
        if wanted.dtype.kind == "f" and wanted.ndim > 1 and least_r2(wanted, best) < _LOST:
            return f"wrong: a column is lost at {figures[-1]:.0f} dB"
    worst = min(figures)
    return f"right, {worst:.0f} dB" if worst >= least else f"wrong, {worst:.1f} dB"


def _decibels(wanted: Any, actual: Any) -> float:
    wanted, actual = np.asarray(wanted, np.float64), np.asarray(actual, np.float64)
    noise = float(np.square(wanted - actual).sum())
    if not np.isfinite(noise):
        return float("-inf")
    return 200.0 if noise == 0 else float(10 * np.log10(max(np.square(wanted).sum(), 1e-300) / noise))


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        [each for each in sys.argv[2:] if each != "--int8"],
        "int8" if "--int8" in sys.argv else "float32",
    )
