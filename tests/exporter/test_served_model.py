"""A SavedModel for a server: whichever thread runs it, the numbers are the same, and loops stay in the session's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from attnexport.exporter import CallError, ServedSavedModel
from attnexport.exporter.served_model import has_control_flow

v1 = tf.compat.v1


def test_the_callers_thread_computes_what_the_sessions_threads_do(model_base: Path) -> None:
    callers, own = (ServedSavedModel(model_base / "2", inter_op_threads=threads) for threads in (1, 2))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    unaligned = np.frombuffer(b"." + x.tobytes(), np.float32, x.size, 1).reshape(x.shape)
    for name in ("serving_default", "total", "picky"):
        wanted = own.run({"x": x}, name)
        for given in (x, unaligned):
            answer = callers.run({"x": given}, name)
            assert answer.keys() == wanted.keys()
            for key, array in wanted.items():
                np.testing.assert_array_equal(answer[key], array)
    with pytest.raises(CallError, match=r"has shape \[5, 2\]; \[\?, 3\] is wanted"):
        callers.run({"x": x[:, :2]}, "picky")
    callers.close()
    own.close()


def plain(x: tf.Tensor) -> tf.Tensor:
    return x + 1


def branching(x: tf.Tensor) -> tf.Tensor:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)


def looping(x: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda each: tf.reduce_sum(each) < 9, lambda each: [each * 2], [x])[0]


@pytest.mark.parametrize(("body", "expected"), [(plain, False), (branching, True), (looping, True)])
@pytest.mark.parametrize("wrapped", [False, True])
def test_loops_and_branches_are_found_in_the_graph_and_in_its_functions(
    body: object, expected: bool, wrapped: bool
) -> None:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2])
        inner = tf.function(body, autograph=False)
        (tf.function(lambda each: inner(each) * 2, autograph=False) if wrapped else body)(x)
    assert has_control_flow(graph.as_graph_def()) is expected
