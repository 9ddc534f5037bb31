"""Scaled dot-product attention as a pure function, and the layer that both attention-concat layers are made from.

Shapes: B batch, H heads, T query steps, S key steps, D features, d_k features of a head. A leading dimension may
be free, and so may T and S.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
from keras import ops

# The score of masked positions. float16, in which phones compute by default, holds it: a row that is masked as a whole
# stays finite there, too, and its weights are uniform.
_MASKED = -3e4
# Added where no row is masked as a whole. float16 makes -inf of it, which is as good there.
_FAR = -1e9

Tensor: TypeAlias = Any  # a Keras tensor, symbolic or not; Keras has no types
Observer = Callable[[str, Tensor], None]

_recorder: ContextVar[tuple[list[tuple[str, Any]], bool] | None] = ContextVar("recorder", default=None)
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def record_attention_weights(*, in_blocks: bool = False) -> Iterator[list[tuple[str, Any]]]:
    """Collect the name and the weights of every attention-concat layer called inside, in order of the calls.

    Args:
        in_blocks: Let layers compute in blocks. They never have all weights then, and give their context instead.

    Example:
        >>> from attnexport.exporter.layers import AttentionConcatLayer
        >>> with record_attention_weights() as weights:
        ...     _ = AttentionConcatLayer(name="attention")(ops.ones((1, 3, 4)))
        >>> [(name, tuple(each.shape)) for name, each in weights]
        [('attention', (1, 3, 3))]
    """
    weights: list[tuple[str, Any]] = []
    token = _recorder.set((weights, in_blocks))
    try:
        yield weights
    finally:
        _recorder.reset(token)


def record(name: str, weights: Tensor) -> None:
    """Hand a layer's weights to `record_attention_weights`, if anyone listens."""
    recorder = _recorder.get()
    if recorder is not None:
        recorder[0].append((name, weights))


def needs_weights() -> bool:
    """Whether someone listens to the weights or what leads to them, so that they are computed at once."""
    recorder = _recorder.get()
    return _observer.get() is not None or (recorder is not None and not recorder[1])


@contextmanager
def observe_attention(observer: Observer) -> Iterator[None]:
    """Have `observer(role, tensor)` called with the scores, softmax and context of every attention computed inside.

    Example:
        >>> x, roles = ops.ones((1, 3, 4)), []
        >>> with observe_attention(lambda role, tensor: roles.append(role)):
        ...     _ = scaled_dot_product_attention(x, x, x, d_k=4)
        >>> roles
        ['scores', 'softmax', 'context']
    """
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


@dataclass(frozen=True)
class ScoreMask:
    """A mask as numbers: scores become `scores * keep + bias`.

    Attributes:
        keep: 1 to attend, 0 to hide, `[B, T, S]` or what broadcasts to it, float32. None if every row has a step to
            attend to: the sum alone hides the others then, without a second pass over the scores.
        bias: 0 to attend, a large negative number to hide, of the same shape.
    """

    keep: Tensor
    bias: Tensor

    def on(self, scores: Tensor) -> Any:
        """The scores with those of hidden steps out of the softmax's reach."""
        if self.keep is not None:
            scores = ops.multiply(scores, ops.cast(self.keep, scores.dtype))
        return ops.add(scores, ops.cast(self.bias, scores.dtype))

    def for_heads(self) -> ScoreMask:
        """The same mask for every head, `[B, 1, T, S]`."""
        keep = None if self.keep is None else ops.expand_dims(self.keep, 1)
        return ScoreMask(keep, ops.expand_dims(self.bias, 1))


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    d_k: int,
    mask: ScoreMask | None = None,
    drop: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any]:
    """softmax(QKᵀ/√d_k)V (Vaswani et al., "Attention Is All You Need", 2017, equation 1).

    The query is scaled before the product: the same mathematics, and 20 dB better than scaling the scores once the
    scores are quantized to int8. The scores and the softmax of 16-bit inputs are computed in float32, where neither
    a large product nor a mask overflows.

    Args:
        query: `[..., T, D]`.
        key: `[..., S, D]`.
        value: `[..., S, D_v]`.
        d_k: The scale is 1/√d_k.
        mask: Which steps are hidden; see `score_mask`.
        drop: Applied to the weights before the sum (dropout).

    Returns:
        The context `[..., T, D_v]` and the weights `[..., T, S]`, in the dtype of the inputs.

    Example:
        >>> x = ops.ones((1, 3, 4))
        >>> context, weights = scaled_dot_product_attention(x, x, x, d_k=4)
        >>> tuple(context.shape), tuple(weights.shape)
        ((1, 3, 4), (1, 3, 3))
    """
    dtype = keras.backend.standardize_dtype(query.dtype)
    with keras.name_scope("scores"):
        if dtype in ("float16", "bfloat16"):
            query, key = ops.cast(query, "float32"), ops.cast(key, "float32")
        query = ops.multiply(query, ops.cast(1.0 / math.sqrt(d_k), query.dtype))
        scores = ops.matmul(query, ops.swapaxes(key, -1, -2))
        _observe("scores", scores)  # before the mask, whose numbers would drown theirs
        if mask is not None:
            scores = mask.on(scores)
    with keras.name_scope("weights"):
        # Keras warns of a softmax over one element, but a sequence of one step is as good as any.
        weights = ops.softmax(scores, axis=-1) if scores.shape[-1] != 1 else ops.ones_like(scores)
        weights = ops.cast(weights, dtype)
        _observe("softmax", weights)
    with keras.name_scope("context"):
        context = ops.matmul(drop(weights) if drop else weights, value)
        _observe("context", context)
    return context, weights


def _observe(role: str, tensor: Tensor) -> None:
    observer = _observer.get()
    if observer is not None:
        observer(role, tensor)


def score_mask(mask: Tensor, *, hides_rows: bool = True) -> ScoreMask:
    """A boolean mask (True: attend) as numbers.

    Args:
        mask: `[B, T, S]` or what broadcasts to it.
        hides_rows: Whether a row may have no step to attend to. Its weights are then uniform, in float16, too: the
            product takes its scores away, whatever they are.

    Example:
        >>> mask = score_mask(ops.convert_to_tensor([[True, False], [False, False]]))
        >>> mask.on(ops.convert_to_tensor([[2.0, 8.0], [4.0, 5.0]])).numpy().tolist()
        [[2.0, -30000.0], [-30000.0, -30000.0]]
    """
    # By selection: unlike a cast of booleans, it has an integer kernel.
    number = ops.convert_to_tensor(_MASKED if hides_rows else _FAR, "float32")
    one, zero = ops.ones((), "float32"), ops.zeros((), "float32")
    return ScoreMask(ops.where(mask, one, zero) if hides_rows else None, ops.where(mask, zero, number))


def causal_mask(query: Tensor, key: Tensor) -> Any:
    """True where key step s <= query step t: `[1, T, S]`, a constant if both are static."""
    steps, key_steps = (x.shape[-2] if x.shape[-2] is not None else ops.shape(x)[-2] for x in (query, key))
    rows, columns = ops.arange(steps, dtype="int32"), ops.arange(key_steps, dtype="int32")
    return ops.expand_dims(ops.greater_equal(ops.expand_dims(rows, -1), columns), 0)


def combine_masks(query: Tensor, key: Tensor, *, key_masks: list[Any], attention_mask: Tensor, causal: bool) -> Any:
    """All masks combined, `[B, T, S]` or broadcastable to it; None if there are no masks.

    Args:
        query: `[B, T, D]`.
        key: `[B, S, D]`.
        key_masks: Padding masks `[B, S]` of key and value, each None if not given.
        attention_mask: `[B, T, S]`, True to attend.
        causal: Whether later steps are hidden from each step.
    """
    masks = [ops.expand_dims(ops.cast(mask, "bool"), -2) for mask in key_masks if mask is not None]
    if attention_mask is not None:
        masks.append(ops.cast(attention_mask, "bool"))
    if causal:
        masks.append(causal_mask(query, key))
    combined = masks[0] if masks else None
    for mask in masks[1:]:
        combined = ops.logical_and(combined, mask)
    return combined


def split_heads(x: Tensor, num_heads: int) -> Any:
    """`[B, T, H·d_k]` to `[B, H, T, d_k]`, leaving the shape to be inferred in at most one place."""
    batch, steps, features = x.shape
    x = ops.reshape(x, (*_leading(x, batch, steps), num_heads, features // num_heads))
    return ops.transpose(x, (0, 2, 1, 3))


def merge_heads(x: Tensor) -> Any:
    """`[B, H, T, d_k]` to `[B, T, H·d_k]`."""
    batch, heads, steps, features = x.shape
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (*_leading(x, batch, steps), heads * features))


def _leading(x: Tensor, batch: int | None, steps: int | None) -> tuple[Any, Any]:
    # A reshape by tf.shape keeps the TFLite delegate from taking the graph as one partition; -1 does not.
    if steps is not None:
        return -1, steps
    if batch is not None:
        return batch, -1
    return -1, ops.shape(x)[1]
