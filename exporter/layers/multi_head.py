"""Multi-head attention, concatenated with its input."""

from __future__ import annotations

from typing import Any

import keras

from attnexport.core.errors import ArgumentError, check_size

from .attention import Tensor, merge_heads, split_heads
from .base import AttentionConcat, Core, Initializer, KerasShape, Regularizer
from .blocks import AttentionBlock


@keras.saving.register_keras_serializable(package="attnexport")
class MultiHeadAttentionConcat(AttentionConcat):
    """concat(x, Concat(head_1 … head_h)W_o) with head_i = Attention(xW_q, xW_k, xW_v)_i.

    `[batch, steps, features]` gives `[batch, steps, features + d_model]`. Source: Vaswani et al., "Attention Is All
    You Need", 2017, section 3.2.2.

    Args:
        num_heads: Number of heads.
        d_model: Width of all heads together, and of the output projection.
        d_k: Width of one head; if given, it must be `d_model / num_heads`.
        axis: -1 concatenates features, 1 concatenates steps.
        use_causal_mask: Hide later steps from each step.
        dropout: Share of the weights dropped in training, 0 to 1.
        use_bias: Whether the projections have a bias.
        kernel_initializer: Initializer of the projections' kernels: a `keras.initializers.Initializer` or its name.
        bias_initializer: Initializer of the projections' biases.
        kernel_regularizer: Regularizer of the projections' kernels: a `keras.regularizers.Regularizer` or its name.
        seed: Seed of the dropout.
        name: Name of the layer; Keras makes one if None.
        dtype: Dtype or dtype policy of the layer, such as "mixed_float16"; Keras's default if None.
        trainable: Whether the weights are trained.
        attention_block: Most query steps to attend with at once outside training, in a loop that never holds all scores
            in memory; the numbers are the same. "auto" for blocks where the scores of a sequence have more than 64 MiB;
            None for no blocks.
        **kwargs: Further arguments of `keras.layers.Layer`.

    Raises:
        ArgumentError: if `num_heads * d_k` is not `d_model`, if a size is not positive, and as for
            AttentionConcatLayer.

    Example:
        >>> import keras
        >>> from attnexport import MultiHeadAttentionConcat
        >>> layer = MultiHeadAttentionConcat(num_heads=8, d_model=32)
        >>> layer(keras.ops.ones((2, 10, 64))).shape
        TensorShape([2, 10, 96])
    """

    def __init__(
        self,
        num_heads: int,
        d_model: int,
        d_k: int | None = None,
        axis: int = -1,
        use_causal_mask: bool = False,
        dropout: float = 0.0,
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        attention_block: AttentionBlock = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            axis,
            use_causal_mask,
            dropout,
            use_bias,
            kernel_initializer,
            bias_initializer,
            kernel_regularizer,
            seed,
            name=name,
            dtype=dtype,
            trainable=trainable,
            attention_block=attention_block,
            **kwargs,
        )
        self.num_heads = self.heads = check_size("num_heads", num_heads)
        self.d_model = check_size("d_model", d_model)
        self.d_k = _head_width(num_heads, d_model, d_k)

    def build_projections(self, query_shape: KerasShape, value_shape: KerasShape, key_shape: KerasShape) -> None:
        self.w_q = self.projection("w_q", query_shape, self.d_model)
        self.w_k = self.projection("w_k", key_shape, self.d_model)
        self.w_v = self.projection("w_v", value_shape, self.d_model)
        self.w_o = self.projection("w_o", (*query_shape[:2], self.d_model), self.d_model)

    def attend(self, query: Tensor, value: Tensor, key: Tensor, core: Core) -> tuple[Any, Any]:
        query, key, value = (
            split_heads(projected, self.num_heads) for projected in (self.w_q(query), self.w_k(key), self.w_v(value))
        )
        context, weights = core(query, key, value, self.d_k)
        return self.w_o(merge_heads(context)), weights

    def context_features(self, query_shape: KerasShape, value_shape: KerasShape) -> int:
        return self.d_model

    def weights_shape(self, query_shape: KerasShape, key_shape: KerasShape) -> KerasShape:
        return (query_shape[0], self.num_heads, query_shape[1], key_shape[1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads, "d_model": self.d_model, "d_k": self.d_k}


def _head_width(num_heads: int, d_model: int, d_k: int | None) -> int:
    """The width of a head, or an ArgumentError naming the values that would do."""
    if d_k is None and d_model % num_heads == 0:
        return d_model // num_heads
    if d_k is not None and num_heads * check_size("d_k", d_k) == d_model:
        return d_k
    ways = []
    if d_model % num_heads == 0:
        ways.append(f"d_k={d_model // num_heads}")
    if d_k is None:
        ways.append(f"num_heads a divisor of {d_model}")
    else:
        ways += [f"num_heads={d_model // d_k}"] * (d_model % d_k == 0) + [f"d_model={num_heads * d_k}"]
    received = f"num_heads={num_heads}, d_model={d_model}, d_k={d_k}"
    raise ArgumentError(f"num_heads * d_k must be d_model; received {received}; use {', or '.join(ways)}")
