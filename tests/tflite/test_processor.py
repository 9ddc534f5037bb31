"""Where int8 pays on a processor, by its features and the shapes of a model."""

from __future__ import annotations

import pytest

from attnexport.tflite import RECIPES
from attnexport.tflite.graph import Graph, Operator, Subgraph, Tensor
from attnexport.tflite.processor import core_share, int8_note

AVX2, VNNI, ARM = frozenset({"avx2"}), frozenset({"avx2", "avx512_vnni"}), frozenset({"asimddp"})


def attention(steps: int, features: int) -> Graph:
    """Four projections, scores and their sum with the values, of one head."""
    rows, scores = (1, steps, features), (1, steps, steps)
    tensors = [Tensor("x", "float32", rows, 0, 0, False)]

    def add(name: str, shape: tuple[int, ...], constant: bool = False) -> int:
        tensors.append(Tensor(name, "float32", shape, 4 * constant, len(tensors), False))
        return len(tensors) - 1

    operators = []
    for name in "qkvo":
        weights, output = add(f"w_{name}", (features, features), True), add(name, rows)
        operators.append(Operator("FULLY_CONNECTED", (0, weights), (output,)))
    score, context = add("scores", scores), add("context", rows)
    operators += [Operator("BATCH_MATMUL", (2, 4), (score,)), Operator("BATCH_MATMUL", (score, 6), (context,))]
    subgraph = Subgraph(tuple(tensors), tuple(operators), (0,), (context,))
    return Graph((subgraph,), {"serving_default": 0}, None)


@pytest.mark.parametrize(("steps", "features"), [(128, 256), (512, 256), (64, 512)])
def test_the_share_of_attention_is_that_of_the_formula(steps: int, features: int) -> None:
    assert core_share(attention(steps, features)) == pytest.approx(steps / (steps + 2 * features))


def test_int8_is_advised_against_where_attention_is_much_of_the_work() -> None:
    long, short = attention(512, 256), attention(128, 256)
    for name in ("int8", "dynamic"):
        note = int8_note(long, RECIPES[name], AVX2)
        assert note is not None
        assert note.startswith(f"{name}: about as fast as float32 on this processor")
        assert "50% of its products are attention's and stay float32" in note
        assert "int4 was the fastest here" in note
        assert int8_note(short, RECIPES[name], AVX2) is None
        for flags in (VNNI, ARM, frozenset[str]()):
            assert int8_note(long, RECIPES[name], flags) is None
    for name in ("float32", "float16", "int4", "int16x8"):
        assert int8_note(long, RECIPES[name], AVX2) is None
    assert int8_note(long, RECIPES["int8"].altered(integer_only=True), AVX2) is None
