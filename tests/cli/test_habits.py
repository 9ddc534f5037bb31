"""What people type who come from other tools, and what is never ignored in silence."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.core.errors import ArgumentError
from attnexport.workflows.choices import recipe_name

Run = Callable[..., tuple[int, str, str]]
COMMAND = str(Path(sys.executable).parent / "attnexport")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("export", "'savedmodel' exports for servers, 'tflite' for devices"),
        ("convert", "'tflite' converts for devices"),
        ("quantize", "-q int8 --calibration samples.npz"),
        ("info", "'inspect' shows what an artifact holds"),
        ("tflit", "did you mean 'tflite'?"),
    ],
)
def test_commands_of_other_tools_get_a_hint(attnexport: Run, word: str, hint: str) -> None:
    code, out, err = attnexport(word, "model.keras")
    assert (code, out) == (2, "")
    assert f"there is no command {word!r}" in err
    assert hint in err


def test_versions_and_recipes_in_other_spellings(attnexport: Run) -> None:
    for words in (["-V"], ["-v"], ["--version"]):
        assert attnexport(*words)[1].startswith("attnexport ")
    assert [recipe_name(each) for each in ("FP16", "INT8", "fp32", "Auto", "mine.json", "./INT8")] == [
        "float16", "int8", "float32", "auto", "mine.json", "./INT8",
    ]  # fmt: skip


def test_the_shell_completes_commands_and_options() -> None:
    words = {"_ATTNEXPORT_COMPLETE": "bash_complete", "COMP_WORDS": "attnexport in", "COMP_CWORD": "1"}
    done = subprocess.run([COMMAND], env=words, capture_output=True, text=True, check=False)
    assert "plain,inspect" in done.stdout.splitlines()
    words = {"_ATTNEXPORT_COMPLETE": "zsh_source"}
    script = subprocess.run([COMMAND], env=words, capture_output=True, text=True, check=False)
    assert script.stdout.startswith("#compdef attnexport")


def test_a_place_beside_an_export_is_refused_before_anything_loads(
    run_python: Callable[..., Any], exported_classifier: Any
) -> None:
    code = (
        "import sys\nfrom attnexport.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\nsys.exit(code)\n"
    )
    export = str(exported_classifier.directory)
    done = run_python(code, "tflite", export, "-o", "elsewhere", "--name", "mine")
    assert done.returncode == 2
    assert "leave out --output and --name" in done.stderr
    done = run_python(code, "tflite", "factory_of_mine:make", "-q", "INT8")
    assert done.returncode == 2
    assert "int8 needs samples to calibrate with: --calibration FILE" in done.stderr
    done = run_python(code, "savedmodel", "factory_of_mine:make", "--warmup", "nowhere.npz")
    assert (done.returncode, "samples nowhere.npz do not exist" in done.stderr) == (2, True)


def test_what_serve_cannot_serve_is_told(attnexport: Run, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("words")
    code, _, err = attnexport("serve", "text.txt", "--port", "auto")
    assert (code, "is neither an export directory nor a .keras or .tflite file" in err) == (2, True)
    code, _, err = attnexport("serve", "nowhere.keras", "--port", "auto")
    assert (code, "nowhere.keras does not exist" in err) == (2, True)


def test_list_shows_exports_and_what_cannot_be_read(attnexport: Run, exported_classifier: Any, tmp_path: Path) -> None:
    assert "There are no exports in ." in attnexport("list")[1]
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "classifier").symlink_to(exported_classifier.directory)
    (tmp_path / "export" / "broken").mkdir()
    (tmp_path / "export" / "broken" / "attnexport.json").write_text("{")
    code, out, _ = attnexport("list")
    assert code == 0
    assert out.splitlines()[2].split()[:2] == ["export/classifier", "1"]
    assert "export/broken" in out
    assert [each["path"] for each in json.loads(attnexport("list", "--json")[1])["exports"]] == [
        "export/broken", "export/classifier",
    ]  # fmt: skip
    assert attnexport("list", "nowhere")[0] == 2
    code, _, err = attnexport("list", "--tls")
    assert (code, err) == (2, "attnexport: --tls works only with --server\n")
    assert "--model" not in attnexport("list", "--help")[1]


@pytest.mark.slow  # four exports
def test_a_new_version_keeps_names_and_labels_and_says_what_changed(tmp_path: Path) -> None:
    import keras

    import attnexport as ax

    def model(classes: int) -> Any:
        inputs = keras.Input((4,), name="x")
        return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax", name="y")(inputs))

    first = ax.export_saved_model(
        model(3), tmp_path, name="m", input_names=["features"], output_names=["scores"], labels=["a", "b", "c"]
    )
    assert not any("not like version" in note for note in first.notes)
    second = ax.export_saved_model(model(3), tmp_path, name="m")
    assert [str(each) for each in second.saved_model.signatures] == [str(each) for each in first.saved_model.signatures]
    assert any("input names and output names and labels are those of version 1" in note for note in second.notes)
    with pytest.raises(ArgumentError, match="new_signature=True if that is meant"):
        ax.export_saved_model(model(3), tmp_path, name="m", inherit=False)
    third = ax.export_saved_model(model(3), tmp_path, name="m", inherit=False, new_signature=True)
    [note] = [note for note in third.notes if "is not like version 2 to clients" in note]
    for words in ("serving_default takes x: float32 [?, 4] (it was features:", "labels are none (they were a, b, c)"):
        assert words in note
    ax.export_saved_model(model(3), tmp_path, name="m", labels=["a", "b", "c"])
    fifth = ax.export_saved_model(model(2), tmp_path, name="m", new_signature=True)
    assert any("labels of version 4 were not taken over: 3 label(s)" in note for note in fifth.notes)


@pytest.mark.slow  # an export and a server
def test_a_keras_file_and_a_tflite_are_served_under_their_names(tmp_path: Path) -> None:
    import keras

    import attnexport as ax
    from attnexport.serving import Client

    inputs = keras.Input((4,), name="x")
    keras.Model(inputs, keras.layers.Dense(2, name="y")(inputs)).save(tmp_path / "mine.keras")
    converted = ax.convert(tmp_path / "mine.keras", output=tmp_path)
    x = np.ones((2, 4), np.float32)
    answers = []
    for path in (tmp_path / "mine.keras", converted.files[0].path):
        with ax.serve(path) as server, Client(server.grpc_address or "", model=path.stem) as client:
            assert list(client.list_models()) == [path.stem]
            answers.append(client.predict({"x": x})["y"])
    np.testing.assert_allclose(*answers, rtol=1e-5)


def test_samples_under_the_names_that_keras_made_are_taken() -> None:
    from attnexport.core.samples import load_samples
    from attnexport.core.signature import TensorSpec

    one = [TensorSpec("input", "float32", (None, 2))]
    for name in ("keras_tensor", "keras_tensor_12", "input_layer_3"):
        assert list(load_samples({name: np.zeros((1, 2))}, one).inputs) == ["input"]
    two = [TensorSpec("input_0", "float32", (None, 2)), TensorSpec("input_1", "float32", (None, 3))]
    samples = load_samples({"keras_tensor_10": np.zeros((1, 3)), "keras_tensor_9": np.zeros((1, 2))}, two)
    assert samples.inputs["input_1"].shape == (1, 3)


def test_a_command_that_writes_nothing_needs_no_place_for_temporary_files(
    attnexport: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose root is read-only."""

    def refuse(*arguments: object, **options: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    for name in ("TemporaryFile", "NamedTemporaryFile", "TemporaryDirectory", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    assert attnexport("list", tmp_path)[0] == 0
    code, _, err = attnexport("status", "--server", "127.0.0.1:1", "--model", "m", "--timeout", "0.2")
    assert (code, "127.0.0.1:1" in err) == (6, True)
