"""A SavedModel from elsewhere runs only if it can do no more than compute; it is read before anything of it runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from attnexport.core import ModelError
from attnexport.exporter import SavedModelRunner, ServedSavedModel
from attnexport.exporter.inspection import inspect_saved_model
from attnexport.exporter.programs import check_program, does_more_than_compute, reading
from attnexport.exporter.programs.checking import refusals
from attnexport.store import trust
from attnexport.store.files import hash_of
from attnexport.store.trust import VARIABLE, remember_program, trusting
from attnexport.workflows.export import export_saved_model
from attnexport.workflows.versions import find_version
from tests.exporter.programs import node, program, text

v1 = tf.compat.v1
X = np.ones((2, 3), np.float32)


# What passes without a question.


def of_tf1(path: Path) -> None:
    """As TensorFlow Serving's half_plus_two: tf.Example, classes from an asset, a main op, two savers, sharded."""
    vocabulary = path.parent / "classes.txt"
    vocabulary.write_text("no\nyes\n")
    with v1.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        x = v1.io.parse_example(serialized, {"x": v1.io.FixedLenFeature([1], tf.float32)})["x"]
        a, b = v1.get_variable("a", initializer=0.5), v1.get_variable("b", initializer=2.0, use_resource=True)
        y = a * x + b
        asset = tf.constant(str(vocabulary))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                asset, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE
            ),
            "?",
        )
        classes = table.lookup(tf.cast(y > 2, tf.int64))
        v1.train.Saver(name="before")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def(
            {"inputs": info(serialized)}, {"scores": info(y), "classes": info(classes)}, "tensorflow/serving/classify"
        )
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
            saver=v1.train.Saver(sharded=True),
        )
        builder.save()


def of_tf2(path: Path) -> None:
    """Tables from an asset, mutable and made of values, loops, a list, random numbers, a ragged tensor."""
    vocabulary = path.parent / "words.txt"
    vocabulary.write_text("a\nb\n")
    module = tf.Module()
    module.variable = tf.Variable(2.0)
    module.from_file = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        1,
    )
    module.mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    module.mutable.insert(["a"], [7])
    module.dense = tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, 0.0, -1, -2)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words"), tf.TensorSpec([None, 3], tf.float32, "x")])
    def call(words: Any, x: Any) -> Any:
        found = module.from_file.lookup(words) + module.mutable.lookup(words)
        array = tf.TensorArray(tf.float32, 3)
        for step in tf.range(3):
            array = array.write(step, tf.reduce_sum(x) * module.variable)
        parts = tf.strings.split(tf.strings.lower(words)).to_tensor("")
        noise = tf.random.stateless_normal([1], [1, 2]) + tf.random.uniform([1])
        return {"found": found, "sums": array.stack(), "parts": parts, "noise": noise + module.dense.lookup([1])}

    tf.saved_model.save(module, str(path), signatures=call)


@pytest.mark.parametrize("write", [of_tf1, of_tf2])
def test_what_computes_passes_and_runs(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "1")
    assert refusals(reading.read_saved_model(tmp_path / "1"), tmp_path / "1") == []
    SavedModelRunner(tmp_path / "1").close()
    assert inspect_saved_model(tmp_path / "1").signatures[0].name == "serving_default"


def test_what_the_exporter_writes_passes(exported_classifier: Any) -> None:
    assert not does_more_than_compute(exported_classifier.path)


# Who may run it all the same.


@pytest.fixture
def writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SavedModel whose initializer writes `written` beside it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], "x")
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": tf.identity(x)})
        builder = v1.saved_model.Builder(str(tmp_path / "model"))
        main = tf.group(tf.io.write_file(str(tmp_path / "written"), "text"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=main)
        builder.save()
    return tmp_path / "model"


def runs(path: Path) -> bool:
    """Whether opening it runs its initializer."""
    SavedModelRunner(path).close()
    written: Path = path.parent / "written"
    found = written.exists()
    written.unlink(missing_ok=True)
    return found


def test_every_way_to_run_it_refuses_and_inspect_runs_nothing(writes: Path) -> None:
    with pytest.raises(ModelError, match="WriteFile"):
        runs(writes)
    with pytest.raises(ModelError, match="WriteFile") as caught:
        ServedSavedModel(writes)
    assert caught.value.code == 9
    assert inspect_saved_model(writes).operators["WriteFile"] == 1
    assert not (writes.parent / "written").exists()


def test_it_runs_if_it_is_trusted_or_was_made_here(writes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with trusting():
        assert runs(writes)
    ServedSavedModel(writes, trust=True).close()
    monkeypatch.setenv(VARIABLE, "1")
    assert runs(writes)
    monkeypatch.delenv(VARIABLE)
    remember_program(hash_of(writes))
    assert runs(writes)
    (writes / "variables" / "more").write_text("changed since")
    with pytest.raises(ModelError, match="was not exported here"):
        runs(writes)


def test_a_live_model_that_does_more_is_found_again_without_a_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    @keras.saving.register_keras_serializable("test_programs")
    class Reads(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + tf.cast(tf.strings.length(tf.io.read_file(str(tmp_path / "file"))), tf.float32)

    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, Reads()(inputs))
    exported = export_saved_model(model, tmp_path / "export", name="m", warmup=0)
    assert does_more_than_compute(exported.path)
    found = find_version(model, output=tmp_path / "export", name="m")
    assert found.entry is not None
    assert found.entry.version == 1
    monkeypatch.setattr(trust, "_written", set())  # another process
    with pytest.raises(ModelError, match="ReadFile"):
        SavedModelRunner(exported.path)


# Files that are larger than what a graph needs.


def test_a_file_with_holes_a_pipe_and_a_large_text_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "saved_model.pb"
    with file.open("wb") as opened:
        opened.truncate(1 << 31)
    with pytest.raises(ModelError, match="a file with holes is not read"):
        check_program(tmp_path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ModelError, match="not a regular file"):
        check_program(tmp_path)
    file.unlink()
    monkeypatch.setattr(reading, "MAX_TEXT_BYTES", 10)
    (tmp_path / "saved_model.pbtxt").write_text("saved_model_schema_version: 1")
    with pytest.raises(ModelError, match="larger than the 10 bytes"):
        check_program(tmp_path)


def test_a_graph_of_nothing_but_parts_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part takes many times its bytes in memory; the values of constants take their size."""
    content = program(node("c", "Const", value=np.zeros(3000, np.float32))).SerializeToString()
    assert len(content) > 12_000
    monkeypatch.setattr(reading, "MAX_STRUCTURE", 2000)
    reading.parse_saved_model(content)
    with pytest.raises(Exception, match="more than 2,000 bytes beside the values of its constants"):
        reading.parse_saved_model(program(text("c", "x" * 3000)).SerializeToString())
    monkeypatch.setattr(reading, "MAX_NODES", 5)
    with pytest.raises(Exception, match="has more than 5 nodes"):
        reading.parse_saved_model(content)


def test_text_is_read_as_tensorflow_reads_it(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text(str(program(node("evil", "PyFunc"))))
    with pytest.raises(ModelError, match="PyFunc"):
        check_program(tmp_path)
    for damaged in (b"\xff", b"{", b""):
        (tmp_path / "saved_model.pbtxt").write_bytes(damaged)
        assert not (check_program(tmp_path) or saved_model_pb2.SavedModel()).meta_graphs
