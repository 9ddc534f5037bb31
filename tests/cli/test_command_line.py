"""The command line as a user meets it: help, results, errors and exit codes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest

from attnexport.core.errors import ContentError, GateError, ParityError
from tests.forks import ForkedPython

Run = Callable[..., tuple[int, str, str]]
COMMAND = str(Path(sys.executable).parent / "attnexport")
LIBRARY_WORDS = ("tensorflow/", "I0000", "WARNING", "oneDNN", "cuda", "XNNPACK", "Saved artifact", "absl", "Traceback")


def test_help_imports_neither_tensorflow_nor_keras_nor_numpy(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    code = (
        "import sys\nfrom attnexport.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'tensorflow', 'keras', 'numpy', 'rich', 'google.protobuf', 'grpc'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for arguments in (["--help"], ["savedmodel", "--help"], ["demo", "-h"], ["--version"], []):
        done = run_python(code, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_every_command_is_documented_and_has_the_common_options(attnexport: Run) -> None:
    from attnexport.cli.main import cli

    for name, command in cli.commands.items():
        code, out, err = attnexport(name, "--help")
        assert (code, err) == (0, "")
        for option in ("--json", "--quiet", "--debug"):
            assert option in out
        assert [line for line in out.splitlines() if len(line) > 80] == [], "a terminal of 80 columns folds it"
        assert command.get_short_help_str(limit=60).endswith("."), "the first sentence is cut off in the list"
        assert all(each.help for each in command.params if isinstance(each, click.Option))


def test_every_help_ends_in_an_example_that_parses(attnexport: Run) -> None:
    """Parsed by click itself, without running it."""
    from attnexport.cli.main import cli

    for name in ("", *cli.commands):
        _, out, _ = attnexport(*filter(None, [name]), "--help")
        title, *examples = out[out.rindex("Example") :].strip().splitlines()
        assert title == ("Example:" if len(examples) == 1 else "Examples:"), name
        assert examples, name
        for line in examples:
            program, typed, *words = shlex.split(line)
            assert (program, typed) == ("attnexport", name or typed)
            cli.commands[typed].make_context(typed, words)


def test_savedmodel_needs_no_arguments_and_says_what_it_did(attnexport: Run, tmp_path: Path) -> None:
    code, out, err = attnexport("savedmodel")
    assert (code, err) == (0, "")
    for words in (
        "export/classifier/saved_model/1 (",
        "sequence: float32 [?, 10, 64]",
        "logits: float32 [?, 10, 10]",
        "max error",
        "6 records, replayed",
        f"--model_base_path={tmp_path}/export/classifier/saved_model",
    ):
        assert words in out
    assert (tmp_path / "export/classifier/attnexport.json").exists()
    assert attnexport("savedmodel", "--version", "7")[0] == 0
    assert {path.name for path in (tmp_path / "export/classifier/saved_model").iterdir()} == {"1", "7"}


@pytest.mark.slow
def test_json_is_one_document_and_nothing_else(attnexport: Run, forks: ForkedPython, tmp_path: Path) -> None:
    """Not even what the user's own modules and their children print."""
    (tmp_path / "noisy.py").write_text(
        "import os\nfrom attnexport.exporter import build_model\n"
        "def make():\n print('hello'); os.system('echo from a child'); return build_model('attention', features=3)\n"
    )
    words = [forks.attnexport, "savedmodel", "noisy:make", "--json", "--name", "mine", "--warmup", "2"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    assert done.stderr == ""
    assert document["version"] == 1
    assert document["warmup_records"] == 4
    assert document["parity"]["passed"]
    assert document["signatures"][0]["name"] == "serving_default"
    code, out, _ = attnexport("--json", "savedmodel", "nope.keras")
    assert code == 2
    assert json.loads(out)["error"]["kind"] == "ArgumentError"


def test_every_option_reaches_the_export(attnexport: Run, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfzero\r\none\r\ntwo\r\n\r\n")
    np.savez(tmp_path / "warm.npz", x=np.zeros((2, 5, 6)))
    code, out, err = attnexport(
        *("savedmodel", "--preset", "multihead-classifier", "--steps", "5", "--features", "6", "--num-heads", "2"),
        *("--d-model", "8", "--d-k", "4", "--units", "16", "--classes", "3", "--pooling", "flatten", "--seed", "4"),
        *("--output", "out", "--name", "mine", "--version", "3", "--input-name", "x", "--output-name", "y"),
        *("--batch", "2", "--signature", "classify", "--labels", "labels.txt", "--warmup", "warm.npz", "--json"),
    )
    assert code == 0, err
    document = json.loads(out)
    assert document["saved_model"] == "out/mine/saved_model/3"
    default, classify = document["signatures"]
    assert default["inputs"] == [{"name": "x", "dtype": "float32", "shape": [2, 5, 6]}]
    assert default["outputs"] == [{"name": "y", "dtype": "float32", "shape": [2, 3]}]
    assert classify["outputs"][1]["shape"] == [2, 3]
    assert "note: warm.npz: 'x' was cast from float64 to float32" in err
    assert attnexport("savedmodel", "--steps", "dynamic", "--json", "--quiet")[0] == 0


def test_an_export_is_exported_again_into_its_next_version(attnexport: Run, tmp_path: Path) -> None:
    assert attnexport("savedmodel", "--preset", "attention")[0] == 0
    code, out, _ = attnexport("savedmodel", "export/attention", "--json")
    assert code == 0
    assert json.loads(out)["saved_model"] == "export/attention/saved_model/2"


@pytest.mark.slow
def test_the_terminal_stays_clean_and_debug_lifts_the_lid(tmp_path: Path) -> None:
    """A process of its own: TensorFlow writes to the file descriptors when it is first imported."""
    command = [COMMAND, "savedmodel", "--preset", "attention"]
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    clean, debug = (
        subprocess.run([*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        for more in ([], ["--debug"])
    )
    assert clean.stderr == ""
    assert not any(word in clean.stdout for word in LIBRARY_WORDS)
    assert any(word in debug.stderr for word in LIBRARY_WORDS)  # which ones depends on the processor
    assert not any(word in debug.stdout for word in LIBRARY_WORDS)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (ContentError("x"), 3, "x"),
        (ParityError("y"), 4, "y"),
        (GateError("z"), 5, "z"),
        (PermissionError(13, "Permission denied", "file"), 3, "file: Permission denied"),
        (MemoryError("4 GiB"), 3, "out of memory: 4 GiB"),
        (ZeroDivisionError("oh"), 1, "ZeroDivisionError: oh; this is a bug in attnexport, --debug shows where"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_failure_has_its_exit_code(
    capfd: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    from attnexport.cli.boundary import run

    def fail() -> None:
        raise error

    assert run(fail, as_json=False, debug=False) == code
    assert capfd.readouterr().err == f"attnexport: {words}\n"
    assert run(fail, as_json=False, debug=True) == code
    assert "Traceback" in capfd.readouterr().err
