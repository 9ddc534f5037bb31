"""Single-head attention, concatenated with its input."""

from __future__ import annotations

from typing import Any

import keras

from attnexport.core.errors import ArgumentError, check_size

from .attention import Tensor
from .base import AttentionConcat, Core, Initializer, KerasShape, Regularizer
from .blocks import AttentionBlock


@keras.saving.register_keras_serializable(package="attnexport")
class AttentionConcatLayer(AttentionConcat):
    """concat(x, softmax(QKᵀ/√d_k)V) with Q = K = V = x, or learned projections of it.

    `[batch, 10, 64]` gives `[batch, 10, 128]`. Source: Vaswani et al., "Attention Is All You Need", 2017, equation 1.

    Args:
        d_k: The scale is 1/√d_k; the key's features if None. With projections also their width.
        axis: -1 concatenates features, 1 concatenates steps.
        use_projection: Learn projections of query, key and value to `d_k` features.
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
        ArgumentError: for sizes that are not positive, an axis that cannot be concatenated along, and shapes that
            do not fit each other.

    Example:
        >>> import keras
        >>> from attnexport import AttentionConcatLayer
        >>> AttentionConcatLayer()(keras.ops.ones((2, 10, 64))).shape
        TensorShape([2, 10, 128])
    """

    def __init__(
        self,
        d_k: int | None = None,
        axis: int = -1,
        use_projection: bool = False,
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
        self.d_k = None if d_k is None else check_size("d_k", d_k)
        self.use_projection = use_projection

    def build_projections(self, query_shape: KerasShape, value_shape: KerasShape, key_shape: KerasShape) -> None:
        if self.use_projection:
            width = self._width(key_shape)
            self.w_q = self.projection("w_q", query_shape, width)
            self.w_k = self.projection("w_k", key_shape, width)
            self.w_v = self.projection("w_v", value_shape, width)
        elif query_shape[2] != key_shape[2]:
            raise ArgumentError(
                f"{self.name}: query has {query_shape[2]} features and key {key_shape[2]}; "
                "they must be the same, or learn projections with use_projection=True"
            )

    def attend(self, query: Tensor, value: Tensor, key: Tensor, core: Core) -> tuple[Any, Any]:
        d_k = self._width(key.shape)
        if self.use_projection:
            query, key, value = self.w_q(query), self.w_k(key), self.w_v(value)
        return core(query, key, value, d_k)

    def context_features(self, query_shape: KerasShape, value_shape: KerasShape) -> int:
        return self._width(value_shape) if self.use_projection else value_shape[2]  # type: ignore[return-value]

    def _width(self, key_shape: KerasShape) -> int:
        return self.d_k or key_shape[2]  # type: ignore[return-value]  # build refuses free features

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "d_k": self.d_k, "use_projection": self.use_projection}
