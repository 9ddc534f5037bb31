"""The recipes that come with attnexport. Every figure behind them is in docs/field-notes.md."""

from __future__ import annotations

from .recipe import Recipe

# The attention core, and what normalization is made of. A product of two int8 activations is not taken by the XNNPACK
# delegate, softmax in int8 has a fixed scale of 1/256, and normalization divides by small numbers: in float32 all of
# them are faster on a CPU, and right.
_FLOAT_CORE = ("BATCH_MATMUL", "SOFTMAX", "RSQRT", "SQRT", "SQUARED_DIFFERENCE", "DIV")

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("float32", weights="float32"),
        Recipe("float16", weights="float16"),
        Recipe("dynamic", weights="int8", activations="dynamic"),
        Recipe("int8", weights="int8", activations="int8", keep_float=_FLOAT_CORE),
        Recipe("int16x8", weights="int8", activations="int16"),
        Recipe("int4", weights="int4", activations="dynamic", weight_algorithms=("minmax", "octav", "mse")),
    )
}
