"""What all attention-concat layers share: masks, dropout, concatenation, shapes and configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from attnexport.core.errors import ArgumentError
from attnexport.core.signature import format_shape

from .attention import Tensor, combine_masks, needs_weights, record, scaled_dot_product_attention, score_mask
from .blocks import AttentionBlock, attend_in_blocks, block_rows, check_attention_block

# A query, a key, a value and d_k to the context, and the weights if there are any.
Core = Callable[[Tensor, Tensor, Tensor, int], tuple[Any, Any]]
KerasShape = tuple[int | None, ...]
Initializer = str | dict[str, Any] | Callable[..., Any]  # a keras.initializers.Initializer, its name or configuration
Regularizer = str | dict[str, Any] | Callable[..., Any] | None

_FEATURES, _STEPS = (-1, 2), (-2, 1)


class AttentionConcat(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """Attention whose context is concatenated with its input (the query).

    Subclasses implement `attend`, which computes the context and the weights, and `context_features`, the context's
    width.
    """

    heads = 1

    def __init__(
        self,
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
        super().__init__(name=name, dtype=dtype, trainable=trainable, **kwargs)
        if axis not in _FEATURES + _STEPS:
            raise ArgumentError(
                f"axis {axis!r} cannot be used to concatenate [batch, steps, features]; use -1 (features) or 1 (steps)"
            )
        if not 0.0 <= dropout < 1.0:
            raise ArgumentError(f"dropout must be at least 0 and below 1; received {dropout!r}")
        self.supports_masking = True
        self.axis = axis
        self.use_causal_mask = use_causal_mask
        self.dropout = dropout
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.seed = seed
        self.attention_block = check_attention_block(attention_block)
        # Without dropout there is no seed to keep, so that an export carries no variable that nothing reads.
        self._drop = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy) if dropout else None

    def attend(self, query: Tensor, value: Tensor, key: Tensor, core: Core) -> tuple[Tensor, Tensor]:
        """Compute the context.

        Args:
            query: `[B, T, D]`.
            value: `[B, S, D_v]`.
            key: `[B, S, D_k]`.
            core: Scaled dot-product attention with the masks of the call, of a query, a key, a value and d_k. They may
                have heads, `[B, H, …]`.

        Returns:
            The context `[B, T, context_features]` and the weights as `core` gives them, None if there are none.
        """
        raise TypeError(f"{type(self).__name__} must implement attend")

    def context_features(self, query_shape: KerasShape, value_shape: KerasShape) -> int:
        """The width of the context."""
        raise TypeError(f"{type(self).__name__} must implement context_features")

    def weights_shape(self, query_shape: KerasShape, key_shape: KerasShape) -> KerasShape:
        """The shape of the attention weights."""
        return (query_shape[0], query_shape[1], key_shape[1])

    def build_projections(self, query_shape: KerasShape, value_shape: KerasShape, key_shape: KerasShape) -> None:
        """Make the learned projections, if the layer has any."""

    def build(
        self, query_shape: KerasShape, value_shape: KerasShape | None = None, key_shape: KerasShape | None = None
    ) -> None:
        value_shape, key_shape = _default_shapes(query_shape, value_shape, key_shape)
        for name, shape in (("query", query_shape), ("value", value_shape), ("key", key_shape)):
            if len(shape) != 3 or shape[2] is None:
                raise ArgumentError(
                    f"{self.name}: {name} must be [batch, steps, features] with known features; "
                    f"received {format_shape(tuple(shape))}"
                )
        if None not in (value_shape[1], key_shape[1]) and value_shape[1] != key_shape[1]:
            raise ArgumentError(
                f"{self.name}: value has {value_shape[1]} steps and key {key_shape[1]}; they must match"
            )
        self.build_projections(query_shape, value_shape, key_shape)
        self.compute_output_shape(query_shape, value_shape, key_shape)
        self.built = True

    def call(
        self,
        query: Tensor,
        value: Tensor = None,
        key: Tensor = None,
        mask: Tensor = None,
        query_mask: Tensor = None,
        value_mask: Tensor = None,
        key_mask: Tensor = None,
        attention_mask: Tensor = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        """Attend and concatenate.

        Args:
            query: `[batch, steps, features]`, with which the context is concatenated.
            value: `[batch, key steps, features]`; the query if None.
            key: Like `value`; the value if None.
            mask: Padding mask `[batch, steps]` of self-attention, True for a real step; set by Keras masking.
            query_mask: Padding mask of the query. In self-attention it is that of the keys, too; otherwise it hides
                nothing, and is passed on.
            value_mask: Padding mask of the value `[batch, key steps]`.
            key_mask: Padding mask of the key `[batch, key steps]`; a step is hidden if either mask hides it.
            attention_mask: `[batch, steps, key steps]`, True to attend.
            return_attention_scores: Also return the weights.
            training: Whether dropout is on.
            use_causal_mask: Hide later steps from each step; always on if the layer was made with it.

        Returns:
            The concatenation `[batch, steps, features + context features]` (for the last axis), or a pair of it
            and the weights, `[batch, steps, key steps]` or `[batch, heads, steps, key steps]`.

        Raises:
            ArgumentError: if a key is given without a value, or `mask` with one.
        """
        key_masks = [value_mask, key_mask]
        if value is None:
            if key is not None:
                raise ArgumentError(f"{self.name}: a key was given without a value")
            key_masks += [mask, query_mask]
        elif mask is not None:
            raise ArgumentError(f"{self.name}: mask is for self-attention; with a value use value_mask or key_mask")
        value = query if value is None else value
        key = value if key is None else key
        masks: dict[str, Any] = {
            "key_masks": key_masks,
            "attention_mask": attention_mask,
            "causal": self.use_causal_mask or use_causal_mask,
        }
        is_whole = training or return_attention_scores or needs_weights()
        heads = self.heads * (query.shape[0] or 1)
        rows = None if is_whole else block_rows(self.attention_block, query.shape[1], key.shape[1], heads)
        if rows is None:
            core = self._core(query, key, masks, training)
        else:
            core = partial(_core_in_blocks, rows=rows, masks=masks)
        context, weights = self.attend(query, value, key, core)
        record(self.name, context if weights is None else weights)
        with keras.name_scope("concat"):
            output = ops.concatenate([query, context], axis=self.axis)
        return (output, weights) if return_attention_scores else output

    def _core(self, query: Tensor, key: Tensor, masks: dict[str, Any], training: bool | None) -> Core:
        combined = combine_masks(query, key, **masks)
        # A causal mask alone leaves each step the first one.
        hides_rows = masks["attention_mask"] is not None or any(each is not None for each in masks["key_masks"])
        mask = None if combined is None else score_mask(combined, hides_rows=hides_rows)

        def core(query: Tensor, key: Tensor, value: Tensor, d_k: int) -> tuple[Any, Any]:
            own = mask.for_heads() if mask is not None and len(query.shape) == 4 else mask
            return scaled_dot_product_attention(query, key, value, d_k=d_k, mask=own, drop=self.drop(training))

        return core

    def drop(self, training: bool | None) -> Any:
        """Dropout on the weights, as `scaled_dot_product_attention` takes it; None without dropout."""
        if self._drop is None:
            return None
        return lambda weights: self._drop(weights, training=training)

    def projection(self, name: str, shape: KerasShape, features: int) -> keras.layers.EinsumDense:
        """A built projection of the last axis. Unlike Dense's, its product stays one operator when steps are free."""
        layer = keras.layers.EinsumDense(
            "btd,de->bte",
            output_shape=(None, features),
            bias_axes="e" if self.use_bias else None,
            kernel_initializer=_own_draw(self.kernel_initializer, name),
            bias_initializer=self.bias_initializer,
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype_policy,
            name=name,
        )
        layer.supports_masking = True  # else Keras warns that it drops the mask, which this layer passes on
        layer.build(shape)
        return layer

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        if previous_mask is None or self.axis in _FEATURES:
            return previous_mask
        return ops.concatenate([previous_mask, previous_mask], axis=1)

    def compute_output_shape(
        self, query_shape: KerasShape, value_shape: KerasShape | None = None, key_shape: KerasShape | None = None
    ) -> KerasShape:
        value_shape, _ = _default_shapes(query_shape, value_shape, key_shape)
        context_shape = (*query_shape[:2], self.context_features(query_shape, value_shape))
        if self.axis in _FEATURES:
            return (*query_shape[:2], query_shape[2] + context_shape[2])  # type: ignore[operator]  # checked by build
        if context_shape[2] != query_shape[2]:
            raise ArgumentError(
                f"{self.name}: the context {format_shape(context_shape)} cannot be concatenated with the input "
                f"{format_shape(tuple(query_shape))} along axis {self.axis}: their features differ; use axis=-1"
            )
        return (query_shape[0], None if query_shape[1] is None else 2 * query_shape[1], query_shape[2])

    def compute_output_spec(
        self,
        query: Tensor,
        value: Tensor = None,
        key: Tensor = None,
        *,
        return_attention_scores: bool = False,
        **_: Any,
    ) -> Any:
        query_shape = tuple(query.shape)
        value_shape, key_shape = _default_shapes(query_shape, *(None if x is None else x.shape for x in (value, key)))
        output_shape = self.compute_output_shape(query_shape, value_shape, key_shape)
        output = keras.KerasTensor(output_shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return output
        return output, keras.KerasTensor(self.weights_shape(query_shape, key_shape), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        # Left out if it is the default, so that a model is the one that was exported before there were blocks.
        block = {} if self.attention_block == "auto" else {"attention_block": self.attention_block}
        return {
            **super().get_config(),
            "axis": self.axis,
            "use_causal_mask": self.use_causal_mask,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "seed": self.seed,
            **block,
        }


def _core_in_blocks(
    query: Tensor, key: Tensor, value: Tensor, d_k: int, *, rows: int, masks: dict[str, Any]
) -> tuple[Any, Any]:
    return attend_in_blocks(query, key, value, d_k=d_k, rows=rows, **masks), None


def _own_draw(initializer: Any, name: str) -> Any:
    """An initializer for one projection: a seeded one gives the same numbers at every call, so each gets its own."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer  # a function
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += "qkvo".index(name[-1])
    return initializer.__class__.from_config(config)


def _default_shapes(query: Tensor, value: Tensor, key: Tensor) -> tuple[Any, Any]:
    value = query if value is None else value
    return value, value if key is None else key
