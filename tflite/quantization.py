"""Quantization of a float32 .tflite by a recipe and ranges, with litert-quantizer."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attnexport.core.errors import ModelError, first_line

from .embeddings import Lookups, shaped, with_lookups
from .fitted_weights import FittedModel, WeightFitter
from .float_core import Places
from .integer_forms import with_integer_forms
from .io_types import with_integer_io, with_outputs_of_signatures
from .recipes import LayerRule, Recipe
from .recipes.recipe import FITTED

# The least and greatest value of each tensor, by its name.
Ranges = Mapping[str, tuple[float, float]]

_ALGORITHMS = {"minmax": "min_max_uniform_quantize", "octav": "OCTAV", "mse": "MSE", FITTED: "min_max_uniform_quantize"}
_BITS = {"int4": 4, "int8": 8, "int16": 16, "float16": 16}


def quantize(
    model: bytes,
    recipe: Recipe,
    ranges: Ranges | None = None,
    weight_algorithm: str = "minmax",
    places: Places | None = None,
    ranks: Mapping[str, int] | None = None,
    fitter: WeightFitter | None = None,
) -> bytes:
    """Quantize a float32 model.

    Args:
        model: A float32 .tflite.
        recipe: The recipe.
        ranges: Range of every activation, if the recipe needs calibration. Constants must not be among them, except
            those that mask scores: weights would get one scale for all channels.
        weight_algorithm: One of the recipe's algorithms.
        places: Operators its exceptions apply to, as `place` finds them.
        ranks: The number of dimensions of each constant among the ranges.
        fitter: Fits weights to the inputs of their layers, if an algorithm is `gptq`.

    Returns:
        A .tflite: the same bytes for the same arguments.

    Raises:
        ModelError: if ranges are not finite, or the quantizer fails.
    """
    if recipe.weights == "float32" and not recipe.layers:
        return model
    from litert_quantizer.quantizer import Quantizer

    places = places or Places()
    fitted = FittedModel(model)
    if fitter is not None and (bits := _fitted_bits(recipe, weight_algorithm, places, fitter)):
        fitted = fitter.fit(bits)
    model = with_integer_forms(fitted.model) if recipe.integer_only else fitted.model
    tables = _tables(recipe, places)
    lookups = with_lookups(model, {name: each.weights for name, each in tables.items()}) if tables else Lookups(model)
    ranges = {**(ranges or {}), **{shaped(name): ranges[name] for name in tables if ranges and name in ranges}}
    centred = _centre(ranges or {}, places.centred)
    statistics = _statistics(centred, ranks or {}) if recipe.needs_calibration else {}
    statistics |= {name: {"min": -bound[:, None], "max": bound[:, None]} for name, bound in fitted.bounds.items()}
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own use of the interpreter
            rules = _rules(recipe, weight_algorithm, places, lookups, tables)
            result = Quantizer(lookups.model, rules).quantize(statistics or None, enable_progress_report=False)
    except Exception as error:  # it raises anything
        raise ModelError(f"recipe {recipe.name!r} cannot quantize this model: {first_line(error)}") from error
    if not result.quantized_model:
        raise ModelError(f"recipe {recipe.name!r} cannot quantize this model: the quantizer returned no model")
    content = with_outputs_of_signatures(bytes(result.quantized_model))
    return content if recipe.io_type == "float32" else with_integer_io(content, recipe.io_type, centred)


def _tables(recipe: Recipe, places: Places) -> dict[str, Recipe | LayerRule]:
    """What applies to each table's rows, by the operator's output, where activations are not integers."""
    levels: dict[str, Recipe | LayerRule] = dict.fromkeys(set(places.tables).difference(places.kept_float), recipe)
    for rule, names in places.layers:
        levels |= dict.fromkeys(set(places.tables).intersection(names), rule)
    return {name: levels[name] for name in sorted(levels) if levels[name].activations in ("float32", "dynamic")}


def _fitted_bits(recipe: Recipe, weight_algorithm: str, places: Places, fitter: WeightFitter) -> dict[str, int]:
    """The bits of the weights that are fitted, by the operator's output."""
    bits = dict.fromkeys(fitter.outputs, _BITS[recipe.weights]) if weight_algorithm == FITTED else {}
    bits = {name: each for name, each in bits.items() if name not in places.kept_float}
    for rule, names in places.layers:
        for name in names:
            bits.pop(name, None)
            if rule.weight_algorithm == FITTED and rule.weights in ("int4", "int8"):
                bits[name] = _BITS[rule.weights]
    return bits


def _rules(
    recipe: Recipe,
    weight_algorithm: str,
    places: Places,
    lookups: Lookups,
    tables: Mapping[str, Recipe | LayerRule],
) -> Any:
    """The recipe as litert-quantizer's list of rules; later ones win."""
    from litert_quantizer import qtyping
    from litert_quantizer.recipe_manager import RecipeManager

    rules = RecipeManager()
    _add(rules, ".*", recipe.weights, recipe.activations, weight_algorithm)
    # Matched as a whole: a scope may begin another one, since names of tensors can contain semicolons.
    # One pattern for all: Python keeps 512 compiled ones, and compiles more than that anew for every operator.
    if places.kept_float:
        scopes = "|".join(re.escape(places.scopes[name]) for name in places.kept_float)
        _add(rules, f"^(?:{scopes})$", "float32", "float32", "minmax")
    for number, (rule, names) in enumerate(places.layers):
        scopes = "|".join(re.escape(places.scopes[name]) for name in names)
        # A pattern has one rule only; empty groups make distinct ones. Float stays if the rule has no kernel.
        _add(rules, f"^(?:{scopes}){'(?:)' * (2 * number + 1)}$", "float32", "float32", "minmax")
        level = rule.weights, rule.activations, rule.weight_algorithm
        _add(rules, f"^(?:{scopes}){'(?:)' * (2 * number + 2)}$", *level)
    for name in lookups.replaced:
        table = tables[name]
        if table.weights.startswith("int"):
            rules.add_dynamic_config(
                f"^(?:{re.escape(name)};)(?:)$",
                qtyping.TFLOperationName.EMBEDDING_LOOKUP,
                _BITS[table.weights],
                qtyping.QuantGranularity.TENSORWISE
                if name in lookups.one_scale
                else qtyping.QuantGranularity.CHANNELWISE,
                _ALGORITHMS[table.weight_algorithm if isinstance(table, LayerRule) else weight_algorithm],
            )
    _set_io(rules, recipe)
    return rules.get_quantization_recipe()


def _add(rules: Any, scope: str, weights: str, activations: str, algorithm: str) -> None:
    """Give a scope one precision."""
    from litert_quantizer.qtyping import TFLOperationName as Name

    everything, key = Name.ALL_SUPPORTED, _ALGORITHMS[algorithm]
    if weights == "float32":
        rules.add_quantization_config(scope, everything, algorithm_key="no_quantize")
    elif weights == "float16":
        rules.add_weight_only_config(scope, everything, _BITS[weights], algorithm_key="float_casting")
    elif activations == "float32":
        rules.add_weight_only_config(scope, everything, _BITS[weights], algorithm_key=key)
    elif activations == "dynamic":
        rules.add_dynamic_config(scope, everything, _BITS[weights], algorithm_key=key)
    else:
        rules.add_static_config(scope, everything, _BITS[activations], _BITS[weights], algorithm_key=key)


def _set_io(rules: Any, recipe: Recipe) -> None:
    from litert_quantizer import qtyping

    for operator in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        if recipe.io_type == "float32":
            rules.add_quantization_config(".*", operator, algorithm_key="no_quantize")
        elif recipe.io_type == "uint8":
            unsigned, weights = (
                qtyping.TensorQuantizationConfig(num_bits=8, symmetric=symmetric, dtype=dtype, granularity=granularity)
                for symmetric, dtype, granularity in (
                    (False, qtyping.TensorDataType.UINT, qtyping.QuantGranularity.TENSORWISE),
                    (True, qtyping.TensorDataType.INT, qtyping.QuantGranularity.CHANNELWISE),
                )
            )
            config = qtyping.OpQuantizationConfig(
                activation_tensor_config=unsigned,
                weight_tensor_config=weights,
                compute_precision=qtyping.ComputePrecision.INTEGER,
                explicit_dequantize=False,
            )
            rules.add_quantization_config(".*", operator, config)


def _centre(ranges: Ranges, chains: Sequence[Sequence[str]]) -> Ranges:
    """The ranges, with each chain of tensors that hold the same values given one whose int8 zero point is 0."""
    centred = dict(ranges)
    for chain in chains:
        bound = max(
            (max(abs(low), abs(high)) for name in chain if name in ranges for low, high in [ranges[name]]), default=0.0
        )
        if bound:
            # int8 has one value more below 0 than above it.
            centred |= dict.fromkeys(chain, (-bound * 128 / 127, bound))
    return centred


def _statistics(ranges: Ranges, ranks: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Ranges in the form litert-quantizer takes.

    It accepts NaN, infinite and equal bounds, and writes files with them that can crash the interpreter.
    """
    statistics = {}
    for name, (low, high) in ranges.items():
        if not np.isfinite([low, high]).all():
            raise ModelError(
                f"the calibration found the range {low} to {high} for tensor {name!r}, which is not finite"
            )
        # Zero must be in the range; a tensor that is always zero can have any.
        least, most = min(low, 0.0), max(high, 0.0)
        bounds = (least, most) if least < most else (0.0, 1.0)
        statistics[name] = {
            key: np.full((1,) * max(1, ranks.get(name, 1)), bound, np.float32)
            for key, bound in zip(("min", "max"), bounds, strict=True)
        }
    return statistics
