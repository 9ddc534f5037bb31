"""A model that computes in 16 or 64 bits, or in Keras's own quantization, built again in float32."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core.errors import AttnexportError, ModelError
from attnexport.core.signature import TensorSpec
from attnexport.exporter.tensorflow_errors import reason

from .declared import build_by_call
from .dequantized import float_weights, is_adapted, quantization_mode
from .traits import computes_in, flat_layers

OTHER_FLOATS = frozenset({"float16", "bfloat16", "float64"})

_OTHER_FLOATS = OTHER_FLOATS | {"mixed_float16", "mixed_bfloat16"}
_TYPE_KEYS = ("dtype", "dtype_policy", "compute_dtype", "variable_dtype")
_ADAPTER_KEYS = ("lora_rank", "lora_alpha", "quantization_config")


def needs_float32(model: Any) -> bool:
    """Whether TFLite's converter does not take the model as it is, or takes more than it computes with."""
    return bool(computes_in(model) & OTHER_FLOATS) or any(map(is_adapted, flat_layers(model)))


def quantized_by_keras(model: Any) -> str | None:
    """How `model.quantize` quantized its layers; None if it did not."""
    return next(filter(None, map(quantization_mode, flat_layers(model))), None)


def precision_of_quantization(mode: str | None) -> str | None:
    """The row of the table of budgets that dequantized weights are held to against the quantized model.

    Keras's quantized layers also round what goes into them, by which the weights alone do not. None without a mode.
    """
    return None if mode is None else {"float8": "int4"}.get(mode, "dynamic")


def in_float32(model: Any, declared: Sequence[TensorSpec] = ()) -> Any:
    """The same layers and weights under a float32 policy, the only one that TFLite's converter accepts.

    Each layer's state goes over the way in which Keras saves and loads it, which also makes what is derived of it (the
    tensors of an adapted Normalization, the table of an adapted lookup). Quantized weights are dequantized, and LoRA's
    adapters merged.

    Args:
        model: A built `keras.Model`.
        declared: The inputs of a model that does not know them itself.

    Raises:
        ModelError: if the model cannot be built from its configuration.
    """
    from keras.src.saving.serialization_lib import SafeModeScope

    try:
        with SafeModeScope(safe_mode=False):  # the model's own code, which is loaded already
            rebuilt = type(model).from_config(_widened(model.get_config()))
        if not rebuilt.built and declared:
            build_by_call(rebuilt, declared)
        elif not rebuilt.built:
            rebuilt.build_from_config(model.get_build_config())
        pairs = list(zip(flat_layers(model), flat_layers(rebuilt), strict=True))
        with tempfile.TemporaryDirectory() as directory:
            for number, (old, new) in enumerate(pairs):
                _copy_state(old, new, Path(directory) / str(number))
    except AttnexportError:
        raise
    except Exception as error:  # a user's layers may raise anything
        raise ModelError(
            f"model {model.name!r} cannot be built again in float32, which TFLite's converter requires: {reason(error)}"
        ) from error
    return rebuilt


def _copy_state(old: Any, new: Any, assets: Path) -> None:
    """Give a layer the variables and the files of another one, but not those of the layers inside."""
    if type(old) is not type(new):
        raise ModelError(f"layer {old.name!r} became {type(new).__name__} when it was built again")
    if is_adapted(old):
        store: dict[str, Any] = dict(float_weights(old))
    else:
        store = {}
        old.save_own_variables(store)
        store = {key: _as_float32(value) for key, value in store.items()}
    if store:
        new.load_own_variables(store)
    if hasattr(old, "save_assets"):
        assets.mkdir()
        old.save_assets(str(assets))
        if any(assets.iterdir()):
            new.load_assets(str(assets))


def _as_float32(value: Any) -> Any:
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.name in OTHER_FLOATS else array


def _widened(config: Any, *, is_type: bool = False) -> Any:
    """A configuration with every other policy replaced by float32, and without adapters; names are left alone."""
    if isinstance(config, dict):
        if is_type and "source_name" in (config.get("config") or {}):  # a policy of Keras's quantization
            return "float32"
        kept = {key: value for key, value in config.items() if key not in _ADAPTER_KEYS}
        return {key: _widened(value, is_type=is_type or key in _TYPE_KEYS) for key, value in kept.items()}
    if isinstance(config, list | tuple):
        return type(config)(_widened(value, is_type=is_type) for value in config)
    return "float32" if is_type and config in _OTHER_FLOATS else config
