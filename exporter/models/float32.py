"""A model that computes in 16 bits, built again in float32 with the same weights."""

from __future__ import annotations

from typing import Any

from attnexport.core.errors import ModelError
from attnexport.exporter.tensorflow_errors import reason

_NARROW = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")


def in_float32(model: Any) -> Any:
    """The same layers and weights under a float32 policy: TFLite's converter takes no others.

    Args:
        model: A built `keras.Model`.

    Raises:
        ModelError: where the model cannot be built from its configuration.
    """
    try:
        rebuilt = type(model).from_config(_widened(model.get_config()))
        if not rebuilt.built:
            rebuilt.build_from_config(model.get_build_config())
        rebuilt.set_weights([weight.astype("float32") for weight in model.get_weights()])
    except Exception as error:  # a user's layers may raise anything
        raise ModelError(
            f"model {model.name!r} computes in 16 bits and cannot be built again in float32: {reason(error)}"
        ) from error
    return rebuilt


def _widened(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _widened(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_widened(value) for value in config)
    return "float32" if config in _NARROW else config
