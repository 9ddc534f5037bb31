"""`attnexport inspect` and `attnexport benchmark` on every kind of artifact."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from attnexport.core import child_process

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

PYTHON = sys.executable
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default classifier with two .tflite files, made once."""
    from attnexport.cli.main import main

    folder = tmp_path_factory.mktemp("made")
    with pytest.raises(SystemExit) as done:
        main(["tflite", "-q", "int8", "-q", "float16", "--output", str(folder), "--quiet"])
    assert not done.value.code
    return folder / "classifier"


@pytest.fixture
def export(attnexport: Run, made: Path, tmp_path: Path) -> Path:
    """A copy of it, named as from the working directory."""
    shutil.copytree(made, tmp_path / "export/classifier")
    return Path("export/classifier")


def test_inspect_tells_each_kind(attnexport: Run, export: Path) -> None:
    for path, told in (
        (
            export / "tflite/1/classifier.int8.tflite",
            ["serving_default(sequence", "in 1 partition, leaves none"],
        ),
        (export / "saved_model/1", ["serving_default(sequence", "float32 71 kB", "6 records"]),
        (export / "keras/1.keras", ["AttentionConcatLayer 1", "Dense 2", "float32 71 kB"]),
        (export, ["version 1", "saved_model/1", "classifier.float16.tflite", "preset classifier"]),
    ):
        code, out, err = attnexport("inspect", path)
        assert (code, err) == (0, "")
        for words in told:
            assert words in out, (path, words)
        code, out, _ = attnexport("inspect", path, "--json")
        assert (code, json.loads(out)["path"]) == (0, str(path))


def test_inspect_says_what_is_gone(attnexport: Run, export: Path) -> None:
    (export / "tflite/1/classifier.int8.tflite").unlink()
    assert re.search(r"classifier.int8.tflite \(\d+ kB\), GONE", attnexport("inspect", export)[1])


def test_inspect_says_what_was_changed(attnexport: Run, export: Path) -> None:
    with (export / "tflite/1/classifier.int8.tflite").open("ab") as file:
        file.write(b"more")
    assert re.search(r"classifier.int8.tflite \(\d+ kB\), CHANGED", attnexport("inspect", export)[1])


@pytest.mark.parametrize("command", ["inspect", "benchmark"])
def test_what_is_no_artifact(command: str, attnexport: Run, tmp_path: Path, exported_classifier: Any) -> None:
    (tmp_path / "text.txt").write_text("words")
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\0\0\0TFL3 and then nothing")
    (tmp_path / "empty").mkdir()
    for path, code, told in (
        ("nowhere", 2, "nowhere does not exist"),
        ("text.txt", 3, "text.txt is not a .tflite, a .keras, a SavedModel or an export"),
        ("broken.tflite", 3, ".tflite"),
        ("empty", 3, "is neither an export"),
        (str(exported_classifier.path.parent), 2, "is a base path of SavedModel versions; name one, such as"),
    ):
        found, out, err = attnexport(command, path)
        assert (found, out) == (code, ""), path
        assert told in err
        assert len(err.splitlines()) == 1


def test_benchmark_puts_artifacts_side_by_side(attnexport: Run, export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", PYTHON)  # a fork's memory is its parent's, too
    code, out, err = attnexport("benchmark", export, "--rounds", "3", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["artifacts"]
    assert [row["kind"] for row in rows] == ["keras", "saved_model", "tflite", "tflite"]
    for row in rows:
        assert (row["samples"], row["inputs"]) == (1, {"sequence": [1, 10, 64]})
        latency = row["latency"]
        assert 0 < latency["p50_ms"] <= latency["p90_ms"] <= latency["p99_ms"]
        assert latency["calls"] == 3
        assert row["size_bytes"] > 10_000
    # A process with TensorFlow in it, and one without.
    assert rows[1]["peak_memory_bytes"] > 3 * rows[2]["peak_memory_bytes"] > 30_000_000
    code, out, _ = attnexport("benchmark", *(row["artifact"] for row in rows[2:]), "--rounds", "3", "--threads", "2")
    assert (code, "3 calls each, interleaved" in out) == (0, True)


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a .tflite with other content."""
    from ai_edge_litert.tools import flatbuffer_utils

    from attnexport.tflite.graph import parse_model

    model = parse_model(path.read_bytes())
    change(model)
    target = path.with_name(f"changed-{path.name}")
    target.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return target


@pytest.fixture
def tflite(export: Path) -> Path:
    return export / "tflite/1/classifier.int8.tflite"


def test_damage_is_content_for_both_commands(attnexport: Run, tflite: Path) -> None:
    def point_nowhere(model: Any) -> None:
        model.signatureDefs[0].subgraphIndex = 99

    def drop_inputs(model: Any) -> None:
        model.signatureDefs[0].inputs = []

    for change, told in ((point_nowhere, "is subgraph 99, of 1 there are"), (drop_inputs, "has no input, without")):
        for command in ("inspect", "benchmark"):
            code, out, err = attnexport(command, changed(tflite, change))
            assert (code, out, len(err.splitlines())) == (3, "", 1)
            assert told in err
            assert tflite.name in err


def test_a_file_that_no_process_here_runs(attnexport: Run, tflite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flexed(model: Any) -> None:
        code = model.operatorCodes[0]
        code.customCode, code.builtinCode, code.deprecatedBuiltinCode = b"FlexErf", 32, 32

    path = changed(tflite, flexed)
    code, out, _ = attnexport("inspect", path)
    assert code == 0
    assert "unknown: it holds TensorFlow's own operators (FlexErf)" in out
    code, _, err = attnexport("benchmark", path)
    assert code == 3
    assert "does not run in a process of its own: it does not load: it holds TensorFlow's own operators (Flex)" in err
    # What nobody thought of: the child dies, and not this process.
    monkeypatch.setattr(child_process, "_BOOTSTRAP", "import os; os.kill(os.getpid(), 11)")
    for command in ("inspect", "benchmark"):
        code, _, err = attnexport(command, tflite)
        assert code == 3
        assert "(signal 11)" in err


def test_code_beside_a_file_is_not_run(tflite: Path, tmp_path: Path) -> None:
    """A download folder may hold anything; `export` made it the working directory."""
    for name in ("json", "msgspec", "numpy", "attnexport"):
        (tmp_path / f"{name}.py").write_text("open('RAN', 'w').close()\nraise SystemExit(1)\n")
    command = Path(PYTHON).parent / "attnexport"
    done = subprocess.run([command, "inspect", tflite], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "in 1 partition" in done.stdout
    assert not (tmp_path / "RAN").exists()


def test_benchmark_compares_the_same_work(attnexport: Run, tflite: Path, export: Path) -> None:
    assert attnexport("tflite", "--name", "four", "--batch", "4")[0] == 0
    four, saved_model = "export/four/tflite/1/four.float32.tflite", export / "saved_model/1"
    code, out, err = attnexport("benchmark", saved_model, four, "--rounds", "3", "--json")
    assert (code, err) == (0, "")
    assert [row["samples"] for row in json.loads(out)["artifacts"]] == [4, 4]
    code, out, err = attnexport("benchmark", tflite, four, "--rounds", "3", "--json")
    assert code == 0
    assert err == f"note: samples in a call differ ({tflite}: 1; {four}: 4), so speed is that of a sample\n"
    first, second = json.loads(out)["artifacts"]
    assert second["p50_ms_per_sample"] == second["latency"]["p50_ms"] / 4
    assert second["speed"] == first["latency"]["p50_ms"] / second["p50_ms_per_sample"]
    code, out, _ = attnexport("benchmark", tflite, four, "--rounds", "3")
    assert out.split()[:6] == ["p50", "p90", "spread", "samples", "a", "sample"]


def test_the_threads_of_each_artifact_are_told(fork_python: Any, attnexport: Run, tflite: Path, export: Path) -> None:
    """TensorFlow takes a number of threads only before it begins, as it does in a process of its own."""
    words = ["benchmark", str(export / "saved_model/1"), str(tflite), "--rounds", "3", "--threads", "2", "--json"]
    done = fork_python("import sys; from attnexport.cli.main import main; main(sys.argv[1:])", *words)
    assert [row["threads"] for row in json.loads(done.stdout)["artifacts"]] == [2, 2]
    found = json.loads(attnexport(*words[:-2], "7", "--json")[1])
    assert [row["threads"] for row in found["artifacts"]] == [None, 7]


def test_benchmark_runs_a_keras_model_in_its_own_precision(tmp_path: Path) -> None:
    """Not as the reference of an export, which is built again in float32."""
    import keras
    import numpy as np

    from attnexport.workflows.artifacts import find_artifact, open_runner

    inputs = keras.Input((4, 8), name="x")
    model = keras.Model(inputs, keras.layers.Dense(5, dtype="mixed_float16", name="y")(inputs))
    model.save(tmp_path / "mixed.keras")
    runner = open_runner(find_artifact(tmp_path / "mixed.keras"))
    x = np.random.default_rng(0).standard_normal((1, 4, 8)).astype(np.float32)
    assert runner.signatures["serving_default"].outputs[0].dtype == "float16"
    np.testing.assert_array_equal(runner.run({"x": x})["y"], model.predict(x, verbose=0))


def test_modules_that_the_manifest_names_are_imported(fork_python: Any, attnexport: Run, tmp_path: Path) -> None:
    (tmp_path / "layers_of_this_test.py").write_text(
        "import keras\n\n\n@keras.saving.register_keras_serializable('layers_of_this_test')\n"
        "class Twice(keras.layers.Layer):\n    def call(self, x):\n        return x * 2\n\n\n"
        "def make():\n    x = keras.Input((3, 4), name='x')\n    return keras.Model(x, Twice(name='y')(x))\n"
    )
    code = (
        "import sys; sys.path.insert(0, ''); import layers_of_this_test as module; module.make().save('own.keras')\n"
        "from attnexport.cli.main import main; main(['savedmodel', 'own.keras', '--import', 'layers_of_this_test'])"
    )
    assert fork_python(code).returncode == 0
    code, out, err = attnexport("inspect", "export/own/keras/1.keras")
    assert (code, err) == (0, "")
    assert "Twice 1" in out
    code, out, err = attnexport("benchmark", "export/own", "--rounds", "3", "--json")
    assert (code, err) == (0, "")
    assert [row["kind"] for row in json.loads(out)["artifacts"]] == ["keras", "saved_model"]
