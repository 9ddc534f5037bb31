"""Bad input: one line that says what would be right, the exit code, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.forks import ForkedPython

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]
PAGE = 4096


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["demoo"], 2, "did you mean 'demo'?"),
        (["list", "--server", "127.0.0.1:1", "--model", "x"], 2, "No such option '--model'"),
        (["savedmodel", "--pooling", "avrage"], 2, "did you mean 'average'"),
        (["savedmodel", "--fetures", "3"], 2, "Did you mean one of: '--features'"),
        (["savedmodel", "--version", "0"], 2, "version must be a whole number of at least 1; received 0"),
        (["savedmodel", "--version", "-1"], 2, "received -1"),
        (["savedmodel", "--version", "two"], 2, "'two' is not a valid integer"),
        (["savedmodel", "--steps", "0"], 2, "steps must be a whole number of at least 1"),
        (["savedmodel", "--steps", "many"], 2, "neither a whole number nor 'dynamic'"),
        (["savedmodel", "--preset", "multihead", "--num-heads", "5"], 2, "num_heads a divisor of 64"),
        (["savedmodel", "--signature", "attention", "--signature", "attention"], 2, "'attention' is named twice"),
        (
            ["savedmodel", "--signature", "serve"],
            2,
            "there is no signature 'serve'; did you mean 'serving_default'? there is 'attention'",
        ),
        (["savedmodel", "--labels", "nope.txt"], 2, "labels nope.txt do not exist"),
        (["savedmodel", "--warmup", "nope.npz"], 2, "samples nope.npz do not exist"),
        (["savedmodel", "missing.keras"], 2, "model missing.keras does not exist"),
        (
            ["savedmodel", "missing.keras", "--units", "3"],
            2,
            "--units applies only to presets, and MODEL missing.keras was given",
        ),
        (["savedmodel", "missing.keras", "--steps", "dynamic"], 2, "--steps dynamic applies only to presets"),
        (["savedmodel", "--num-heads", "3"], 2, "--num-heads does not apply to the preset 'classifier'"),
        (["savedmodel", "--version", "9223372036854775808"], 2, "version must be at most 9223372036854775807"),
        (["savedmodel", "--units", "1000000000"], 3, "preset 'classifier' of these sizes cannot be built"),
        (["savedmodel", "models:leaves"], 3, "models:leaves() failed: SystemExit: 7"),
        (["savedmodel", "--import", "nowhere"], 2, "there is no module 'nowhere'"),
        (["savedmodel", "--name", "a/b"], 2, "name 'a/b' is not usable"),
        (["savedmodel", "corrupt.keras"], 3, "corrupt.keras is not a Keras 3 model, or damaged"),
        (
            ["savedmodel", "old.h5"],
            3,
            "old.h5 is not a readable HDF5 file; save the model with model.save('NAME.keras')",
        ),
        (["savedmodel", "--warmup", "corrupt.npz"], 3, "corrupt.npz: not a readable numpy file"),
        (["savedmodel", "--labels", "binary.txt"], 3, "one name a line in UTF-8"),
        (["savedmodel", "--output", "a_file"], 3, "cannot write a_file/classifier"),
        (["savedmodel", "models:unbuilt"], 3, "was never built"),
        (["savedmodel", "models:nan"], 3, "holds NaN or infinity"),
        (["savedmodel", "models:differs"], 4, "the SavedModel was not kept: serving_default output 'output'"),
        (["savedmodel", "models:python"], 5, "calls Python"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_its_code_and_leaves_nothing(
    attnexport: Run, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    for name in ("corrupt.keras", "corrupt.npz", "old.h5", "a_file"):
        (tmp_path / name).write_text("this is not what its name says")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "models.py").write_text(MODELS)
    before = sorted(path.name for path in tmp_path.iterdir())
    actual, out, err = attnexport(*arguments)
    sys.modules.pop("models", None)
    assert (actual, out) == (code, ""), err
    assert message in err
    assert err.startswith("attnexport: ")
    assert err.count("\n") == 1, err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == before


MODELS = """
import keras, numpy as np, tensorflow as tf
class Differs(keras.layers.Layer):
    def call(self, x):
        return x if tf.executing_eagerly() else x + 1
class Python(keras.layers.Layer):
    def call(self, x):
        return tf.ensure_shape(tf.numpy_function(np.tanh, [x], tf.float32), (None, 3))
    def compute_output_shape(self, shape):
        return shape
def leaves(): raise SystemExit(7)
def unbuilt(): return keras.Sequential([keras.layers.Dense(3)])
def differs(): return keras.Sequential([keras.Input((3,)), Differs()])
def python(): return keras.Sequential([keras.Input((3,)), Python()])
def nan():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.layers[0].bias.assign([0, np.nan])
    return model
"""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a small tmpfs: what permissions cannot show to root, a file system can."""
    mounted = []

    def make(*options: str) -> Path:
        path = tmp_path / "mounted"
        path.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", path], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"mounting a tmpfs is not allowed here: {done.stderr.decode().strip()}")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", path], check=True)


@pytest.fixture(scope="module")
def bytes_written(forks: ForkedPython, tmp_path_factory: pytest.TempPathFactory) -> int:
    """By an export of the default classifier, in pages of the file system."""
    folder = tmp_path_factory.mktemp("measured")
    subprocess.run([forks.attnexport, "savedmodel", "--output", folder], check=True, capture_output=True)
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


# The space ends in the SavedModel's parts, in the .keras, and in the warm-up records.
@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.75, 0.95])
def test_no_space_left_is_said_and_leaves_nothing(
    attnexport: Run, mount: Callable[..., Path], bytes_written: int, share: float
) -> None:
    output = mount(f"size={int(share * bytes_written)}")
    code, out, err = attnexport("savedmodel", "--output", output / "export")
    assert (code, out) == (3, ""), err
    assert err.startswith(f"attnexport: cannot write {output}/export/classifier: no space left on device"), err
    assert list(output.iterdir()) == []


def test_a_full_disk_loses_nothing_that_was_there(
    attnexport: Run, mount: Callable[..., Path], bytes_written: int
) -> None:
    output = mount(f"size={int(1.5 * bytes_written)}")
    assert attnexport("savedmodel", "--output", output)[0] == 0
    before = _tree(output)
    assert attnexport("savedmodel", "--output", output)[0] == 3
    assert _tree(output) == before


def test_a_read_only_place_is_said(attnexport: Run, mount: Callable[..., Path]) -> None:
    output = mount("size=1m", "ro")
    code, _, err = attnexport("savedmodel", "--output", output)
    assert code == 3
    assert "the file system is read-only" in err


def test_a_limit_on_file_sizes_is_said(forks: ForkedPython, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 40; exec {forks.attnexport} savedmodel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "cannot write export/classifier" in done.stderr
    assert not (tmp_path / "export").exists()


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_exports_at_once_get_two_whole_versions(forks: ForkedPython, tmp_path: Path) -> None:
    words = [forks.attnexport, "savedmodel", "--json"]
    running = [subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    saved_models = tmp_path / "export" / "classifier" / "saved_model"
    assert {path.name for path in saved_models.iterdir()} == {"1", "2"}
    assert all((path / "saved_model.pb").exists() for path in saved_models.iterdir())


def test_killed_while_it_writes_the_next_export_sweeps(attnexport: Run, tmp_path: Path) -> None:
    """As soon as the SavedModel's first file is there; tests/core kills at every other moment."""
    command = [str(Path(sys.executable).parent / "attnexport"), "savedmodel"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    root = tmp_path / "export" / "classifier"
    while not list(root.glob(".tmp-*/saved_model/*")):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(root.glob(".tmp-*"))
    assert not (root / "saved_model").exists()
    assert attnexport("savedmodel")[0] == 0
    assert sorted(os.listdir(root)) == [".lock", "attnexport.json", "keras", "saved_model"]
    assert os.listdir(root / "saved_model") == ["1"]


def test_interrupted_it_leaves_nothing(forks: ForkedPython, tmp_path: Path) -> None:
    words = [forks.attnexport, "savedmodel"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "export" / "classifier").glob(".tmp-*/saved_model/*")):
        assert process.poll() is None, "it ended before it was interrupted"
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "attnexport: interrupted\n")
    assert not (tmp_path / "export").exists()


def test_a_pipe_that_nobody_reads_is_no_bug(forks: ForkedPython, tmp_path: Path) -> None:
    for words in ("savedmodel", "savedmodel --json"):
        command = f"{forks.attnexport} {words} | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (141, "")


def test_a_result_that_cannot_be_printed_stands_all_the_same(forks: ForkedPython, tmp_path: Path) -> None:
    command = f"{forks.attnexport} savedmodel > /dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr == (
        "attnexport: the result cannot be printed on stdout (No space left on device); the command itself succeeded\n"
    )
    assert (tmp_path / "export/classifier/saved_model/1/saved_model.pb").exists()


@pytest.mark.parametrize("words", ["nope --json > /dev/full", "nope --json | true", "nope >&-", "nope 2>&-"])
def test_an_error_that_cannot_be_told_keeps_its_code(forks: ForkedPython, tmp_path: Path, words: str) -> None:
    command = f"{forks.attnexport} savedmodel {words}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_closed_streams_do_not_keep_an_export_from_its_work(forks: ForkedPython, tmp_path: Path) -> None:
    command = f"{forks.attnexport} savedmodel <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "export/classifier/saved_model/1/saved_model.pb").exists()
