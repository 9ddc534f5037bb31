"""The recipes that come with attnexport. Every figure behind them is in docs/field-notes.md."""

from __future__ import annotations

from .recipe import Recipe

# What normalization is made of: it divides by small numbers, and Keras's form of it has operators that no quantizer
# knows, so it falls to pieces between integer and float.
_NORMALIZATION = ("RSQRT", "SQRT", "SQUARED_DIFFERENCE", "DIV")

# And the attention core. XNNPACK does not take a product of two int8 activations, and softmax in int8 has
# a fixed scale of 1/256: in float32 they are faster on a CPU, and right.
_ATTENTION_CORE = ("BATCH_MATMUL", "SOFTMAX")

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("float32", weights="float32"),
        Recipe("float16", weights="float16"),
        Recipe("dynamic", weights="int8", activations="dynamic"),
        Recipe("int8", weights="int8", activations="int8", keep_float=_ATTENTION_CORE + _NORMALIZATION),
        Recipe("int16x8", weights="int8", activations="int16", keep_float=_NORMALIZATION),
        Recipe("int4", weights="int4", activations="dynamic", weight_algorithms=("minmax", "octav", "mse")),
    )
}
