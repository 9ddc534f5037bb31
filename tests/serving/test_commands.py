"""`attnexport predict`, `status`, `metadata` and `benchmark --server` as a user meets them."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

Run = Callable[..., tuple[int, str, str]]
COMMAND = str(Path(sys.executable).parent / "attnexport")
X = np.arange(15, dtype="f").reshape(5, 3)


@pytest.fixture
def ask(attnexport: Run, server: Any, tmp_path: Path) -> Run:
    """Run a client command on the server's model, where x.npz is a good input."""
    np.savez(tmp_path / "x.npz", x=X)
    return lambda name, *words: attnexport(name, "--server", server.address, "--model", "m", *words)


@pytest.fixture
def piped(ask: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Predict what comes on stdin."""

    def run(data: bytes, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return ask("predict", "--input", "-", *words)

    return run


def test_predict_shows_what_the_server_says(ask: Run) -> None:
    code, out, err = ask("predict", "--input", "x.npz")
    assert (code, err) == (0, "")
    assert out.startswith(
        "m version 3, serving_default\n\nn: int64 [5]\n[5 5 5 5 5]\ny: float32 [5, 3]\n[[ 3.  5.  7.]"
    )
    code, out, _ = ask("predict", "--input", "x.npz", "--json", "--version", "2", "--batch", "2")
    document = json.loads(out)
    assert (code, document["model"], document["version"]) == (0, "m", 2)
    assert document["outputs"]["y"] == {"dtype": "float32", "shape": [5, 3], "values": (2 * X + 2).tolist()}
    assert document["outputs"]["n"]["values"] == [2, 2, 2, 2, 1]
    assert json.loads(ask("predict", "--input", "x.npz", "--json", "--label", "stable")[1])["version"] == 2


def test_output_is_an_npz_that_appears_whole_or_not_at_all(ask: Run, server: Any, tmp_path: Path) -> None:
    code, out, _ = ask("predict", "--input", "x.npz", "--output", "y.npz")
    assert code == 0
    assert out.rstrip().endswith("written to y.npz")
    with np.load(tmp_path / "y.npz") as written:
        np.testing.assert_array_equal(written["y"], 2 * X + 3)
    document = json.loads(ask("predict", "--input", "x.npz", "--output", "y.npz", "--json")[1])
    assert document["output"] == "y.npz"
    assert document["outputs"]["y"] == {"dtype": "float32", "shape": [5, 3]}
    kept = (tmp_path / "y.npz").read_bytes()
    code, _, err = ask("predict", "--input", "x.npz", "--output", "y.npz", "--signature", "nope")
    assert (code, (tmp_path / "y.npz").read_bytes()) == (6, kept)
    for path, words in (
        ("y.txt", "--output 'y.txt' is not a FILE.npz, FILE.json or FILE.csv"),
        ("no/y.npz", "which is not a directory"),
        (".npz", "is not a FILE.npz, FILE.json or FILE.csv"),
    ):
        code, _, err = ask("predict", "--input", "x.npz", "--output", path)
        assert code == 2
        assert words in err
    (tmp_path / "strings.json").write_text('{"x": ["a", {"b64": "/w=="}]}')
    assert ask("predict", "--signature", "echo", "--input", "strings.json", "--output", "s.npz")[0] == 0
    with np.load(tmp_path / "s.npz") as written:
        assert written["x"].tolist() == [b"a", b"\xff"]
    assert not list(tmp_path.glob(".tmp*"))


@pytest.mark.parametrize(
    "text",
    [
        '{"x": [[1, 2, 3]]}', "[[1.0, 2, 3]]", '{"inputs": [[1, 2, 3]]}', '{"inputs": {"x": [[1, 2, 3]]}}',
        '{"instances": [{"x": [1, 2, 3]}]}', '{"signature_name": "x", "instances": [[1, 2, 3]]}',
    ],
)  # fmt: skip
def test_json_by_name_alone_or_as_a_rest_body(ask: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    code, out, err = ask("predict", "--input", "x.json", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["outputs"]["y"]["values"] == [[5, 7, 9]]


def test_stdin_takes_all_three_forms(server: Any, piped: Run) -> None:
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, X)
    np.savez(npz, x=X)
    for data in (npy.getvalue(), npz.getvalue(), json.dumps(X.tolist()).encode()):
        code, out, err = piped(data, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["outputs"]["y"]["values"] == (2 * X + 3).tolist()
    for data in (b"", b"\x93NUMPYxxx", b"PKxxx", b"[1", b"3", b"\xff", b"[" * 100_000):
        code, _, err = piped(data)
        assert code == 3, err
        assert err.startswith("attnexport: stdin")
        assert err.count("\n") == 1
    command = [COMMAND, "predict", "--server", server.address, "--model", "m", "--input", "-", "--json"]
    done = subprocess.run(command, input=npy.getvalue(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_several_inputs_scalars_and_what_json_has_no_numbers_for(ask: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.ones((3, 2), "f"), b=np.ones((3, 2), "i4"))
    document = json.loads(ask("predict", "--signature", "two", "--input", "two.npz", "--json")[1])
    assert document["outputs"]["sum"]["values"] == [[2, 2]] * 3
    document = json.loads(ask("predict", "--signature", "total", "--input", "x.npz", "--json")[1])
    assert document["outputs"]["total"] == {"dtype": "float32", "shape": [], "values": 105}
    (tmp_path / "big.json").write_text("[[3e38, -3e38, 1]]")
    document = json.loads(ask("predict", "--input", "big.json", "--json")[1])
    assert document["outputs"]["y"]["values"] == [["Infinity", "-Infinity", 5]]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--input", "nope.npz"], 2, "samples nope.npz do not exist"),
        (["--input", "x.npz", "--batch", "0"], 2, "batch must be a whole number of at least 1"),
        (["--input", "x.npz", "--batch", "2", "--signature", "total"], 2, "output 'total' of signature"),
        (["--input", "x.npz", "--version", "-1"], 2, "-1 is not in the range x>=0"),
        (["--input", "x.npz", "--version", "1", "--label", "a"], 2, "version 1 and label 'a' exclude each other"),
        (["--input", "x.npz", "--timeout", "0"], 2, "timeout must be a number of seconds above 0"),
        (["--input", "x.npz", "--tls-ca", "no.pem"], 2, "certificate file no.pem does not exist"),
        (["--input", "x.npz", "--header", "a"], 2, "--header 'a' is not NAME=VALUE"),
        (["--input", "x.npz", "--compression", "gzp"], 2, "did you mean 'gzip'?"),
        (["--input", "bad.json"], 3, "bad.json: not JSON"),
        (["--input", "ragged.json"], 3, "input 'x': its rows have different lengths"),
        (["--input", "text.json"], 3, "input 'x': it holds 'a' at [0, 0], which float32 cannot represent"),
        (["--input", "other.npz"], 3, "other.npz: holds 'z', but the inputs are 'x'"),
        (["--input", "narrow.npz"], 3, "'x' has shape [2, 2]; [?, 3] is expected"),
        (["--input", "x.npz", "--signature", "tow"], 6, "no signature 'tow'; did you mean 'two'? there is 'classify'"),
        (["--input", "x.npz", "--version", "9"], 6, "(NOT_FOUND)"),
        (["--input", "x.npz", "--server", "h:x"], 2, "address 'h:x' is not HOST:PORT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_its_code(
    ask: Run, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "ragged.json").write_text("[[1, 2, 3], [4]]")
    (tmp_path / "text.json").write_text('{"x": [["a", "b", "c"]]}')
    np.savez(tmp_path / "other.npz", z=X)
    np.savez(tmp_path / "narrow.npz", x=X[:2, :2])
    found, out, err = ask("predict", *words)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["predict", "status", "metadata", "benchmark"])
def test_an_unreachable_server_is_exit_code_6_with_address_and_reason(
    attnexport: Run, tmp_path: Path, name: str
) -> None:
    np.savez(tmp_path / "x.npz", x=X)
    more = ["--input", "x.npz"] if name in ("predict", "benchmark") else []
    code, _, err = attnexport(name, "--server", "127.0.0.1:1", "--model", "m", "--timeout", "2", *more)
    assert code == 6
    assert err.startswith("attnexport: 127.0.0.1:1 is unavailable: connection refused")
    code, out, _ = attnexport(name, "--server", "127.0.0.1:1", "--model", "m", "--timeout", "2", "--json", *more)
    assert json.loads(out)["error"]["exit_code"] == 6


def test_status_and_metadata_as_tables_and_json(ask: Run, server: Any) -> None:
    code, out, _ = ask("status")
    assert (code, out.splitlines()) == (
        0,
        ["version  state      error", "3        AVAILABLE", "2        AVAILABLE", "1        END        no graph"],
    )
    document = json.loads(ask("status", "--json", "--version", "2", "--wait")[1])
    assert document == {
        "model": "m",
        "versions": [{"version": 2, "state": "AVAILABLE", "error_code": 0, "error": ""}],
    }
    code, out, _ = ask("metadata")
    assert code == 0
    assert "two              predict   a: float32 [?, 2]   sum: float32 [?, 2]" in out
    document = json.loads(ask("metadata", "--json", "--label", "stable")[1])
    assert document["version"] == 2
    assert document["signatures"][0]["name"] == "classify"
    server.service.states = [(4, 20, "")]
    code, _, err = ask("status", "--wait", "--timeout", "0.5")
    assert code == 6
    assert "model 'm' is not ready after 0.5 s: version 4 is LOADING" in err


def test_benchmark_measures_each_number_of_callers_and_counts_failures(ask: Run, server: Any, attnexport: Run) -> None:
    code, out, _ = ask(
        "benchmark", "--seconds", "0.2", "--concurrency", "1,3", "--input", "x.npz", "--batch", "2", "--json"
    )
    document = json.loads(out)
    assert (code, document["batch"], document["version"]) == (0, 2, 3)
    assert [level["concurrency"] for level in document["levels"]] == [1, 3]
    for level in document["levels"]:
        assert 0 < level["p50"] <= level["p90"] <= level["p99"]
        assert level["requests"] > 0
        assert level["failures"] == {}
    begin, first = server.service.begin, len(server.service.calls) + 8

    def fail_later(name: str, request: Any, context: Any) -> None:
        if len(server.service.calls) > first:
            server.service.failures.append((grpc.StatusCode.UNAVAILABLE, "full"))
        begin(name, request, context)

    server.service.begin = fail_later
    code, out, _ = ask("benchmark", "--seconds", "0.3", "--concurrency", "2")
    assert code == 0
    assert "UnavailableError" in out
    for words, told in (
        ((), "either ARTIFACTS or --server HOST:PORT"),
        (("model.tflite", "--server", "127.0.0.1:1"), "either ARTIFACTS or --server HOST:PORT"),
        (("model.tflite", "--concurrency", "2"), "--concurrency works only with --server"),
        (("--server", "127.0.0.1:1", "--model", "m", "--threads", "2"), "--threads works only with artifacts"),
        (("--server", "127.0.0.1:1"), "--server needs --model"),
        (("--server", "127.0.0.1:1", "--model", "m", "--concurrency", "a"), "is not a list of whole numbers"),
        (("--server", "127.0.0.1:1", "--model", "m", "--seconds", "0"), "--seconds must be above 0"),
    ):
        code, _, err = attnexport("benchmark", *words)
        assert code == 2
        assert told in err


def test_a_large_input_shows_its_progress_on_a_terminal_and_nowhere_else(server: Any, tmp_path: Path) -> None:
    """Held back at the last batches, so that the bar is seen."""
    np.save(tmp_path / "large.npy", np.zeros((3000, 3), "f"))
    large = str(tmp_path / "large.npy")
    words = [COMMAND, "predict", "--server", server.address, "--model", "m", "--input", large, "--batch=32"]
    master, slave = pty.openpty()
    seen = bytearray()

    def drain() -> None:
        try:
            while data := os.read(master, 4096):
                seen.extend(data)
                if b"samples" in seen:
                    server.service.hold.set()
        except OSError:  # how a terminal ends on Linux
            return

    server.service.hold.set()
    begin = server.service.begin

    def hold_back(name: str, request: Any, context: Any) -> None:
        if len(server.service.calls) >= 50 and b"samples" not in seen:
            server.service.hold.clear()
        begin(name, request, context)

    server.service.begin = hold_back
    reader = threading.Thread(target=drain)
    reader.start()
    done = subprocess.run(
        [*words, "--output", str(tmp_path / "y.npz")], stdout=subprocess.PIPE, stderr=slave, check=False
    )
    os.close(slave)
    reader.join(30)
    os.close(master)
    assert done.returncode == 0
    assert b"samples" in seen
    with np.load(tmp_path / "y.npz") as written:
        assert (written["y"] == 3).all()
        assert written["y"].shape == (3000, 3)
    server.service.hold.set()
    quiet = subprocess.run(words, capture_output=True, check=True)
    assert quiet.stderr == b""


def test_cold_start_needs_no_tensorflow(
    run_python: Callable[..., subprocess.CompletedProcess[str]], server: Any, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", x=X)
    code = (
        "import sys\nfrom attnexport.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {name.split('.')[0] for name in sys.modules} & {'tensorflow', 'keras', 'tensorflow_serving'}"
    )
    place = ("--server", server.address, "--model", "m")
    for words in (("predict", "--input", "x.npz"), ("status",), ("metadata",), ("benchmark", "--seconds", "0.1")):
        done = run_python(code, words[0], *place, *words[1:])
        assert (done.returncode, done.stderr) == (0, "")


def test_predict_sends_all_samples_in_one_call_unless_a_batch_is_given(ask: Run, server: Any) -> None:
    for more, calls in (([], 1), (["--batch", "2"], 3)):
        server.service.calls.clear()
        assert json.loads(ask("predict", "--input", "x.npz", "--json", *more)[1])["outputs"]["n"]["shape"] == [5]
        assert [name for name, _, _ in server.service.calls].count("Predict") == calls
