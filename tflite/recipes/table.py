"""The recipes that come with attnexport. Every figure behind them is in docs/field-notes.md."""

from __future__ import annotations

from .recipe import Recipe

# The operators that stay float32 when activations are quantized: the attention core, GELU, and the parts of
# normalization. In float32 they are faster on a CPU, and correct; --integer-only is for targets without floats. XNNPACK
# has no integer softmax and no integer GELU, and fails on an integer SPLIT with an unread output (an unrolled LSTM has
# one). Softmax in int8 has a fixed scale of 1/256. A mask's -1e9 uses up any integer scale. Normalization divides by
# small numbers, and Keras writes it with operators that no quantizer knows.
_FLOAT_CORE = ("BATCH_MATMUL", "SOFTMAX", "GELU", "SPLIT", "RSQRT", "SQRT", "SQUARED_DIFFERENCE", "DIV")

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("float32", weights="float32"),
        Recipe("float16", weights="float16"),
        Recipe("dynamic", weights="int8", activations="dynamic"),
        Recipe("int8", weights="int8", activations="int8", keep_float=_FLOAT_CORE),
        Recipe("int16x8", weights="int8", activations="int16", keep_float=_FLOAT_CORE),
        Recipe("int4", weights="int4", activations="dynamic", weight_algorithms=("minmax", "octav", "mse", "gptq")),
    )
}
