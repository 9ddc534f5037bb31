"""The weights of layers that Keras quantized, or gave LoRA adapters, as float32."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from attnexport.core.errors import ModelError
from attnexport.core.signature import Arrays

# Keras's modes whose weights can be read back; those that are calibrated (gptq, awq) keep others.
_MODES = ("int8", "int4", "float8")


def quantization_mode(layer: Any) -> str | None:
    """How Keras quantized a layer; None if it did not."""
    mode = getattr(layer, "quantization_mode", None)
    return mode if isinstance(mode, str) else None


def is_adapted(layer: Any) -> bool:
    """Whether a layer's weights are not those that it multiplies by: quantized, or with LoRA adapters beside them."""
    return quantization_mode(layer) is not None or bool(getattr(layer, "lora_enabled", False))


def float_weights(layer: Any) -> Arrays:
    """The weights of an adapted layer as its float32 form stores them: by their position, LoRA merged.

    Raises:
        ModelError: for a layer or a mode whose weights cannot be read back.
    """
    mode = quantization_mode(layer)
    if mode not in (None, *_MODES):
        raise ModelError(f"layer {layer.name!r} was quantized by Keras's {mode!r}, whose weights cannot be read back")
    if isinstance(layer, keras.layers.Embedding):
        tables = [_table(layer, mode)]
        if not getattr(layer, "tie_weights", True):
            tables.append(_reverse_table(layer, mode))
    elif isinstance(layer, keras.layers.Dense | keras.layers.EinsumDense):
        tables = [_kernel(layer, mode)]
        if layer.bias is not None:
            tables.append(layer.bias)
    else:
        raise ModelError(f"layer {layer.name!r} ({type(layer).__name__}) is quantized in a way that is not known here")
    return {str(index): np.asarray(ops.cast(each, "float32")) for index, each in enumerate(tables)}


def _kernel(layer: Any, mode: str | None) -> Any:
    if mode not in ("int8", "int4"):
        return layer.kernel  # which has the adapters in it
    is_einsum = isinstance(layer, keras.layers.EinsumDense)
    if mode == "int8":
        scale = layer._adjust_scale_for_dequant(layer.kernel_scale) if is_einsum else layer.kernel_scale
        kernel = ops.divide(ops.cast(layer._kernel, "float32"), scale)
    else:
        columns = layer._int4_unpacked_column_size if is_einsum else layer._orig_output_dim
        kernel = _unpacked(layer, layer._kernel, columns, "kernel", group_axis=0)
        kernel = ops.reshape(kernel, layer.original_kernel_shape) if is_einsum else kernel
    if layer.lora_enabled:
        kernel += layer.lora_alpha / layer.lora_rank * ops.matmul(layer.lora_kernel_a, layer.lora_kernel_b)
    return kernel


def _table(layer: Any, mode: str | None) -> Any:
    if mode not in ("int8", "int4"):
        return layer.embeddings
    if mode == "int8":
        table = ops.divide(ops.cast(layer._embeddings, "float32"), ops.expand_dims(layer.embeddings_scale, -1))
    else:
        table = _unpacked(layer, layer._embeddings, layer._orig_output_dim, "embeddings", group_axis=-1)
    if layer.lora_enabled:
        delta = ops.matmul(layer.lora_embeddings_a, layer.lora_embeddings_b)
        table += layer.lora_alpha / layer.lora_rank * delta
    return table


def _reverse_table(layer: Any, mode: str | None) -> Any:
    if mode == "int4":
        raise ModelError(f"layer {layer.name!r}: an int4 table for both directions cannot be read back; use int8")
    if mode == "int8":
        return ops.divide(ops.cast(layer.reverse_embeddings, "float32"), layer.reverse_embeddings_scale)
    return layer.reverse_embeddings


def _unpacked(layer: Any, packed: Any, columns: int, name: str, *, group_axis: int) -> Any:
    """The numbers of an int4 matrix, whose scales are of a channel or of a group of rows."""
    values = ops.cast(keras.quantizers.unpack_int4(packed, columns, axis=-1), "float32")
    scale = getattr(layer, f"{name}_scale")
    if getattr(layer, "_int4_block_size", None) in (None, -1):
        return ops.divide(values, scale if group_axis == 0 else ops.expand_dims(scale, -1))
    groups = ops.cast(layer.g_idx, "int32")
    scales = ops.take(scale, groups, axis=group_axis)
    zeros = ops.take(getattr(layer, f"{name}_zero"), groups, axis=group_axis)
    return ops.multiply(ops.subtract(values, ops.cast(zeros, "float32")), scales)
