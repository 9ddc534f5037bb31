"""A SavedModel for a server: whichever thread and executor run it, the numbers are the same."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from attnexport.exporter import ServedSavedModel, SessionError, served_model
from attnexport.exporter.executor import PLAIN_EXECUTOR, USUAL_EXECUTOR, executor_for
from attnexport.exporter.programs import read_saved_model

pytestmark = pytest.mark.slow

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


def queued(x: Any) -> Any:
    queue = v1.FIFOQueue(1, [tf.float32])
    with tf.control_dependencies([queue.enqueue(x)]):
        return tf.reshape(queue.dequeue(), [-1, 3])


def write(path: Path, body: Callable[[Any], Any], x: Any) -> Any:
    """Save a graph of TF 1, and give what it computes."""
    with v1.Session(graph=tf.Graph()) as session:
        given = v1.placeholder(tf.float32, [None, 3])
        output = body(given)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        signatures = {
            "serving_default": v1.saved_model.predict_signature_def({"x": given}, {"y": output}),
            "echo": v1.saved_model.predict_signature_def({"x": given}, {"y": given}),
        }
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, main_op=v1.tables_initializer())
        builder.save()
        return session.run(output, {given: x})


X = np.array([[0.25, -1.5, 2.0]], np.float32)


@pytest.mark.parametrize("control_flow_v2", [False, True])
@pytest.mark.parametrize("body", [plain, looked_up, counting, branching, looping, old_variable, queued])
def test_whichever_executor_suits_a_graph_computes_the_same(
    tmp_path: Path, body: Callable[[Any], Any], control_flow_v2: bool
) -> None:
    (v1.enable_control_flow_v2 if control_flow_v2 else v1.disable_control_flow_v2)()
    try:
        wanted = write(tmp_path / "1", body, X)
    finally:
        v1.enable_control_flow_v2()
    # Loops and branches of TF 2 are functions. What keeps a state may wait, unless it is known not to.
    usual = body in (counting, old_variable, queued) or (body in (branching, looping) and not control_flow_v2)
    assert executor_for(read_saved_model(tmp_path / "1")) == (USUAL_EXECUTOR if usual else PLAIN_EXECUTOR)
    served = ServedSavedModel(tmp_path / "1", trust=body is queued)  # a queue waits, so it is not on the list
    if body is counting:  # the state is the session's, of one call as of many
        counts = [served.run({"x": 0 * X}, "serving_default")["y"][0, 0] for _ in range(3)]
        assert counts == [1, 2, 3]
    else:
        with ThreadPoolExecutor(4) as threads:
            for answer in threads.map(lambda _: served.run({"x": X}, "serving_default"), range(50)):
                np.testing.assert_array_equal(answer["y"], wanted)
    served.close()


def test_a_graph_on_two_devices_does_not_wait_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is a GPU: one thread cannot run parts that wait for each other."""

    def on_both(x: Any) -> Any:
        with tf.device("/cpu:1"):
            y = tf.sqrt(tf.exp(x))
        return tf.tanh(y)

    usual = v1.ConfigProto
    monkeypatch.setattr(v1, "ConfigProto", lambda **options: usual(device_count={"CPU": 2}, **options))
    with v1.Session(graph=tf.Graph(), config=v1.ConfigProto()) as session:
        given = v1.placeholder(tf.float32, [None, 3])
        output = on_both(given)
        v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": given}, {"y": output})
        wanted = session.run(output, {given: X})
    assert executor_for(read_saved_model(tmp_path / "1")) == PLAIN_EXECUTOR, "by its operators it would"
    served = ServedSavedModel(tmp_path / "1")
    np.testing.assert_array_equal(served.run({"x": X}, "serving_default")["y"], wanted)
    served.close()


def test_what_no_session_takes_is_told_as_tensorflow_tells_it(tmp_path: Path) -> None:
    write(tmp_path / "1", plain, X)
    served = ServedSavedModel(tmp_path / "1")
    with pytest.raises(SessionError, match="both fed and fetched") as refused:
        served.run({"x": X}, "echo")
    assert refused.value.code == 3
    served.close()


def test_subsets_of_outputs_are_not_a_copy_of_the_graph_each(model_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_model, "_MOST_CALLABLES", 2)
    served = ServedSavedModel(model_base / "2")
    inputs = {"x": X}
    whole = served.run(inputs, "serving_default")
    for wanted in (("y",), ("rows",), ("rows",), ("y",)):
        answer = served.run(inputs, "serving_default", wanted)
        assert tuple(answer) == wanted
        np.testing.assert_array_equal(answer[wanted[0]], whole[wanted[0]])
    assert len(served._callables) == 2
    served.close()
