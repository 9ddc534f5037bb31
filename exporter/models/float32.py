"""A model that computes in 16 or 64 bits, built again in float32 with the same weights."""

from __future__ import annotations

from typing import Any

from attnexport.core.errors import ModelError
from attnexport.exporter.tensorflow_errors import reason

OTHER_FLOATS = frozenset({"float16", "bfloat16", "float64"})

_OTHER_FLOATS = OTHER_FLOATS | {"mixed_float16", "mixed_bfloat16"}
_TYPE_KEYS = ("dtype", "dtype_policy", "compute_dtype", "variable_dtype")


def in_float32(model: Any) -> Any:
    """The same layers and weights under a float32 policy, the only one that TFLite's converter accepts.

    Args:
        model: A built `keras.Model`.

    Raises:
        ModelError: if the model cannot be built from its configuration.
    """
    try:
        rebuilt = type(model).from_config(_widened(model.get_config()))
        if not rebuilt.built:
            rebuilt.build_from_config(model.get_build_config())
        rebuilt.set_weights([weight.astype("float32") for weight in model.get_weights()])
    except Exception as error:  # a user's layers may raise anything
        raise ModelError(
            f"model {model.name!r} cannot be built again in float32, which TFLite's converter requires: {reason(error)}"
        ) from error
    return rebuilt


def _widened(config: Any, *, is_type: bool = False) -> Any:
    """A configuration with every other float dtype replaced by float32; names are left alone."""
    if isinstance(config, dict):
        return {key: _widened(value, is_type=is_type or key in _TYPE_KEYS) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_widened(value, is_type=is_type) for value in config)
    return "float32" if is_type and config in _OTHER_FLOATS else config
