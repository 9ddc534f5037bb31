"""Attention in blocks of queries: the same numbers, without all scores of a long sequence in memory at once.

A loop computes the scores and the context of some query steps, then of the next ones. It is TensorFlow's own loop over
lists of tensors, which TF Serving runs, gradients pass, and TFLite's converter makes a WHILE of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Literal, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from attnexport.core.errors import ArgumentError, check_size

from .attention import ScoreMask, Tensor, combine_masks, scaled_dot_product_attention, score_mask

AttentionBlock: TypeAlias = int | Literal["auto"] | None

# By "auto", sequences whose scores have more bytes than this are attended to in blocks whose scores do not.
_MOST_BYTES = 64 << 20
_SCORE_BYTES = 4
_LEAST_ROWS = 128  # each block lays keys and values out anew, which smaller ones spend more time on than on products


def check_attention_block(value: AttentionBlock) -> AttentionBlock:
    """Refuse what is neither a number of steps, nor "auto", nor None.

    Raises:
        ArgumentError: naming it.
    """
    if value is None or value == "auto":
        return value
    if isinstance(value, str):
        raise ArgumentError(f"attention_block must be a number of query steps, 'auto' or None; received {value!r}")
    return check_size("attention_block", value)


def block_rows(block: AttentionBlock, steps: int | None, key_steps: int | None, heads: int) -> int | None:
    """The number of query steps to attend with at once; None for all of them.

    Args:
        block: The most steps; "auto" for blocks where the scores of a sequence are large; None for no blocks.
        steps: Query steps; None if they are free.
        key_steps: Key steps; None if they are free.
        heads: Number of heads of all sequences of a batch, as far as that is fixed.

    Example:
        >>> block_rows(512, 1025, 1025, heads=8), block_rows("auto", 4096, 4096, heads=8)
        (342, 512)
        >>> block_rows("auto", 512, 512, heads=8) is block_rows(512, 512, 512, heads=8) is None
        True
    """
    if block == "auto":
        if steps is None or key_steps is None:
            return None
        block = max(_MOST_BYTES // (heads * key_steps * _SCORE_BYTES), _LEAST_ROWS)
    if block is None or steps is None:
        return block
    # Blocks of nearly the same size, so that the last one is not mostly padding.
    return None if steps <= block else math.ceil(steps / math.ceil(steps / block))


def attend_in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    d_k: int,
    rows: int,
    key_masks: Sequence[Tensor] = (),
    attention_mask: Tensor = None,
    causal: bool = False,
) -> Any:
    """The context of `scaled_dot_product_attention`, computed with some query steps at once.

    Args:
        query: `[B, T, D]` or `[B, H, T, D]`.
        key: `[B, S, D]` or `[B, H, S, D]`.
        value: `[B, S, D_v]` or `[B, H, S, D_v]`.
        d_k: The scale is 1/√d_k.
        rows: Number of query steps of a block. The last one is padded.
        key_masks: As in `combine_masks`.
        attention_mask: As in `combine_masks`.
        causal: As in `combine_masks`.

    Returns:
        The context, `[B, T, D_v]` or `[B, H, T, D_v]`.

    Example:
        >>> x = ops.reshape(ops.arange(24.0), (1, 6, 4))
        >>> whole, _ = scaled_dot_product_attention(x, x, x, d_k=4)
        >>> bool(ops.all(attend_in_blocks(x, x, x, d_k=4, rows=4) == whole))
        True
    """
    steps = ops.shape(query)[-2]
    count = (steps + rows - 1) // rows
    with keras.name_scope("blocks"):
        queries = _split(query, rows, count)
        mask_of = _block_masks(query, key, rows, count, key_masks, attention_mask, causal)

        def attend(number: Any, contexts: Any) -> tuple[Any, Any]:
            context, _ = scaled_dot_product_attention(
                tf.gather(queries, number), key, value, d_k=d_k, mask=mask_of(number)
            )
            return number + 1, contexts.write(number, context)

        shape = (*query.shape[:-2], rows, value.shape[-1])
        contexts = tf.TensorArray(value.dtype, size=count, element_shape=shape)
        # Zeros to begin with would be a constant of their size in a .tflite.
        contexts = contexts.unstack(_of_width(queries, value.shape[-1]))
        _, contexts = tf.while_loop(
            lambda number, _: number < count,
            attend,
            (tf.constant(0), contexts),
            parallel_iterations=1,  # else the scores of several blocks would be in memory at once
        )
        joined = _join(contexts.stack(), query, rows, count)
        return joined if isinstance(steps, int) and steps % rows == 0 else joined[..., :steps, :]


def _split(x: Tensor, rows: int, count: Any) -> Any:
    """`[..., T, D]` as `[count, ..., rows, D]`; the last block is filled up with zeros."""
    padding = rows * count - ops.shape(x)[-2]
    *lead, _, width = ops.shape(x)
    if not isinstance(padding, int) or padding:
        x = tf.pad(x, [[0, 0]] * len(lead) + [[0, padding], [0, 0]])
    x = ops.reshape(x, _one_inferred([*lead, count, rows, width]))
    return ops.transpose(x, (len(lead), *range(len(lead)), len(lead) + 1, len(lead) + 2))


def _of_width(x: Tensor, width: int) -> Any:
    """Something with `width` features, by cutting or padding."""
    missing = width - x.shape[-1]
    if missing <= 0:
        return x[..., :width] if missing else x
    return tf.pad(x, [[0, 0]] * (len(x.shape) - 1) + [[0, missing]])


def _join(blocks: Tensor, query: Tensor, rows: int, count: Any) -> Any:
    """`[count, ..., rows, D]` as `[..., count·rows, D]`."""
    *lead, _, _ = ops.shape(query)
    x = ops.transpose(blocks, (*range(1, len(lead) + 1), 0, len(lead) + 1, len(lead) + 2))
    return ops.reshape(x, _one_inferred([*lead, count * rows, blocks.shape[-1]]))


def _one_inferred(sizes: list[Any]) -> list[Any]:
    """A shape whose last size that is not known is left to be inferred, since -1 stays one operator."""
    free = [place for place, size in enumerate(sizes) if not isinstance(size, int)]
    return [-1 if free and place == free[-1] else size for place, size in enumerate(sizes)]


def _block_masks(
    query: Tensor,
    key: Tensor,
    rows: int,
    count: Any,
    key_masks: Sequence[Tensor],
    attention_mask: Tensor,
    causal: bool,
) -> Callable[[Any], ScoreMask | None]:
    """The mask of a block by its number."""
    steps, key_steps = ops.shape(query)[-2], ops.shape(key)[-2]
    # What is the same for every query step is computed once.
    is_pairwise = attention_mask is not None and not (steps != 1 and attention_mask.shape[-2] == 1)
    fixed = combine_masks(
        query, key, key_masks=list(key_masks), attention_mask=None if is_pairwise else attention_mask, causal=False
    )
    pairs = _split(ops.cast(attention_mask, "bool"), rows, count) if is_pairwise else None
    columns = ops.arange(key_steps, dtype="int32")
    fixed_mask = None if fixed is None else _for_heads(score_mask(fixed), query)

    def mask_of(number: Any) -> ScoreMask | None:
        if pairs is None and not causal:
            return fixed_mask
        masks = [] if fixed is None else [fixed]
        if pairs is not None:
            masks.append(tf.gather(pairs, number))
        if causal:
            places = number * rows + ops.arange(rows, dtype="int32")
            masks.append(ops.expand_dims(ops.greater_equal(ops.expand_dims(places, -1), columns), 0))
        # The numbers are computed inside the loop, where half precision makes NaN of 0 x -1e9.
        return _for_heads(score_mask(reduce(ops.logical_and, masks), hides_rows=True), query)

    return mask_of


def _for_heads(mask: ScoreMask, query: Tensor) -> ScoreMask:
    return mask.for_heads() if len(query.shape) == 4 else mask
