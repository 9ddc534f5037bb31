"""A SavedModel for a server: whichever thread and executor run it, the numbers are the same."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from attnexport.exporter import ServedSavedModel

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
    callers.close()
    own.close()


def plain(x: Any) -> Any:
    return tf.nn.softmax(x) @ tf.constant(np.eye(3, dtype=np.float32) * 2)


def branching(x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)


def looping(x: Any) -> Any:
    return tf.while_loop(lambda each: tf.reduce_sum(each) < 9, lambda each: [each * 2], [tf.abs(x)])[0]


def old_variable(x: Any) -> Any:
    return x * v1.get_variable("scale", initializer=3.0, use_resource=False)


def counting(x: Any) -> Any:
    return x + v1.assign_add(v1.get_variable("calls", initializer=0.0, use_resource=True), 1.0)


def looked_up(x: Any) -> Any:
    entries = tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1]), tf.constant([10, 20]))
    return x + tf.cast(tf.lookup.StaticHashTable(entries, -1).lookup(tf.cast(x[0, 0] > 0, tf.int32)), tf.float32)


@pytest.mark.parametrize("control_flow_v2", [False, True])
@pytest.mark.parametrize("body", [plain, looked_up, counting, branching, looping, old_variable])
def test_what_the_plain_executor_refuses_runs_in_the_usual_one(
    tmp_path: Path, body: Callable[[Any], Any], control_flow_v2: bool
) -> None:
    x = np.array([[0.25, -1.5, 2.0]], np.float32)
    (v1.enable_control_flow_v2 if control_flow_v2 else v1.disable_control_flow_v2)()
    try:
        with v1.Session(graph=tf.Graph()) as session:
            given = v1.placeholder(tf.float32, [None, 3])
            output = body(given)
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            signature = v1.saved_model.predict_signature_def({"x": given}, {"y": output})
            builder = v1.saved_model.Builder(str(tmp_path / "1"))
            builder.add_meta_graph_and_variables(
                session, ["serve"], {"serving_default": signature}, main_op=v1.tables_initializer()
            )
            builder.save()
            wanted = session.run(output, {given: x})
    finally:
        v1.enable_control_flow_v2()
    served = ServedSavedModel(tmp_path / "1")
    # Loops and branches of TF 2 are functions to it.
    refused = body is old_variable or (body in (branching, looping) and not control_flow_v2)
    assert (served._threads == -1) is not refused
    if body is counting:  # the state is the session's, of one call as of many
        counts = [served.run({"x": 0 * x}, "serving_default")["y"][0, 0] for _ in range(3)]
        assert counts == [1, 2, 3]
    else:
        with ThreadPoolExecutor(4) as threads:
            for answer in threads.map(lambda _: served.run({"x": x}, "serving_default"), range(50)):
                np.testing.assert_array_equal(answer["y"], wanted)
    served.close()
