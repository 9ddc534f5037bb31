"""Attention layers whose context is concatenated with their input."""

from .attention import observe_attention, record_attention_weights, scaled_dot_product_attention
from .attention_concat import AttentionConcatLayer
from .base import AttentionConcat
from .multi_head import MultiHeadAttentionConcat

__all__ = [
    "AttentionConcat",
    "AttentionConcatLayer",
    "MultiHeadAttentionConcat",
    "observe_attention",
    "record_attention_weights",
    "scaled_dot_product_attention",
]
