"""What the layers refuse, and what their errors say would be right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attnexport.core.errors import ArgumentError
from attnexport.exporter.layers import AttentionConcatLayer, MultiHeadAttentionConcat


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ((8, 64, 10), "d_k=8, or d_model=80"),
        ((5, 64, 8), "num_heads=8, or d_model=40"),
        ((7, 64), "num_heads a divisor of 64"),
    ],
)
def test_heads_that_do_not_fill_the_model_are_refused_with_what_would_do(
    arguments: tuple[int, ...], remedy: str
) -> None:
    with pytest.raises(ArgumentError, match=remedy):
        MultiHeadAttentionConcat(*arguments)


@pytest.mark.parametrize("size", [0, -1, 2.5, "8", True])
def test_sizes_are_positive_whole_numbers(size: Any) -> None:
    with pytest.raises(ArgumentError, match="d_k must be a whole number of at least 1"):
        AttentionConcatLayer(size)
    with pytest.raises(ArgumentError, match="num_heads must be a whole number of at least 1"):
        MultiHeadAttentionConcat(size, 64, 8)


def test_steps_cannot_be_concatenated_where_features_differ() -> None:
    with pytest.raises(ArgumentError, match=r"\[2, 3, 4\].*\[2, 3, 6\].*axis 1"):
        MultiHeadAttentionConcat(2, 4, 2, axis=1)(np.zeros((2, 3, 6), np.float32))


def test_query_and_key_of_different_widths_need_projections() -> None:
    query, value = np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 6), np.float32)
    with pytest.raises(ArgumentError, match=r"4 features and key 6.*use_projection=True"):
        AttentionConcatLayer()(query, value)
    assert AttentionConcatLayer(5, use_projection=True)(query, value).shape == (2, 3, 9)


def test_value_and_key_pair_up() -> None:
    query, value, key = (np.zeros((2, steps, 4), np.float32) for steps in (3, 5, 6))
    with pytest.raises(ArgumentError, match="value has 5 steps and key 6"):
        AttentionConcatLayer()(query, value, key)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_is_a_share(dropout: float) -> None:
    with pytest.raises(ArgumentError, match="dropout"):
        AttentionConcatLayer(dropout=dropout)
