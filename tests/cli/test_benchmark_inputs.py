"""Side by side means the same work: shapes of the calls of several artifacts."""

from __future__ import annotations

import numpy as np

from attnexport.core import Signature, TensorSpec
from attnexport.core.signature import Shape
from attnexport.workflows.benchmark_inputs import differences, same_calls


def signature(*shapes: Shape | None, names: str = "ab", name: str = "serving_default") -> Signature:
    inputs = tuple(TensorSpec(names[index], "float32", shape) for index, shape in enumerate(shapes))
    return Signature(name, inputs, (TensorSpec("y", "float32", (None, 2)),))


def shapes_of(*signatures: Signature) -> list[list[tuple[int, ...]]]:
    return [list(call.shapes.values()) for call in same_calls(signatures)]


def test_what_one_leaves_free_is_as_another_fixes_it() -> None:
    free, fixed = signature((None, None, 64)), signature((4, 10, 64))
    assert shapes_of(free, fixed, free) == [[(4, 10, 64)]] * 3
    assert shapes_of(signature(None), fixed) == [[(4, 10, 64)]] * 2
    half = signature((None, 7, 64))
    assert shapes_of(free, half) == [[(1, 7, 64)]] * 2
    assert shapes_of(free) == [[(1, 32, 64)]]


def test_inputs_are_matched_by_order_where_their_names_differ() -> None:
    """A .keras of its own has Keras's names, an export those that it was given."""
    assert (
        shapes_of(signature((None, None, 3), (None, None)), signature((2, 5, 3), (2, 6), names="st"))
        == [[(2, 5, 3), (2, 6)]] * 2
    )
    assert shapes_of(signature((None, None)), signature((1, 9), (1, 8)))[0] == [(1, 9)]


def test_a_call_without_a_batch_counts_as_one_sample() -> None:
    alone = Signature("s", (TensorSpec("a", "float32", (None,)),), (TensorSpec("y", "float32", ()),))
    [call] = same_calls([alone])
    assert (call.shapes, call.samples) == ({"a": (32,)}, 1)


def test_all_get_the_same_values() -> None:
    first = signature((None, 3), (None, 2))
    other = Signature("serving_default", tuple(reversed(first.inputs)), first.outputs)
    one, two = (
        call.inputs({"serving_default": each})
        for call, each in zip(same_calls([first, other]), (first, other), strict=True)
    )
    for name in "ab":
        np.testing.assert_array_equal(one[name], two[name])


def test_what_differs_is_said() -> None:
    def told(*signatures: Signature) -> list[str]:
        return differences({f"artifact {number}": call for number, call in enumerate(same_calls(signatures))})

    assert told(signature((None, 3)), signature((8, 3))) == []
    [note] = told(signature((8, 3)), signature((1, 3)), signature((8, 3)))
    assert note == "samples in a call differ (artifact 0: 8; artifact 1: 1), so speed is that of a sample"
    [note] = told(signature((1, 3)), signature((1, 5)))
    assert note.startswith("shapes differ apart from the batch (artifact 0: [3]; artifact 1: [5])")
