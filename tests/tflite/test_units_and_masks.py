"""What stays float because of units, ranges of masked scores, and integers at the edges of a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnexport.tflite.graph import Operator, Subgraph, Tensor
from attnexport.tflite.statistics import TensorStatistics
from attnexport.tflite.units import unit_operators


def subgraph(operators: list[Operator], shapes: dict[int, tuple[int, ...]], constants: dict[int, int]) -> Subgraph:
    count = 1 + max(index for each in operators for index in (*each.inputs, *each.outputs))
    tensors = tuple(
        Tensor(f"t{index}", "float32", shapes.get(index, (1, 3)), constants.get(index, 0), index, False)
        for index in range(count)
    )
    return Subgraph(tensors, tuple(operators), (0,), (operators[-1].outputs[0],))


def test_a_concatenation_that_gives_an_output_stays_float_and_one_inside_does_not() -> None:
    last = Operator("CONCATENATION", (1, 2), (3,))
    assert unit_operators(subgraph([Operator("FULLY_CONNECTED", (0, 4), (1,)), last], {}, {4: 36})) == [last]
    shaped = [last, Operator("RESHAPE", (3,), (5,))]
    assert unit_operators(subgraph(shaped, {}, {})) == [last]
    inside = [last, Operator("FULLY_CONNECTED", (3, 4), (5,))]
    assert unit_operators(subgraph(inside, {}, {4: 36})) == []


def test_arithmetic_by_columns_on_an_input_stays_float_with_the_matrix_behind_it() -> None:
    centre, dense = Operator("SUB", (0, 4), (1,)), Operator("FULLY_CONNECTED", (1, 5), (2,))
    assert unit_operators(subgraph([centre, dense], {}, {4: 12, 5: 36})) == [centre, dense]
    assert unit_operators(subgraph([centre, dense], {}, {4: 4, 5: 36})) == [], "one number for all columns"


def test_the_range_above_a_bound_leaves_masked_values_out() -> None:
    values = np.array([-1e9, -3e4, -5.0, 0.25, 6.0], np.float32)
    counts: Any = np.zeros(1 << 16, np.int64)
    counts[values.view(np.uint32) >> 16] += 1
    low, high = TensorStatistics([-1e9], [6.0], counts).above(-9000.0)
    assert -5.1 < low <= -5.0
    assert high == 6.0
