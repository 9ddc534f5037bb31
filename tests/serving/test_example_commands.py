"""`attnexport classify`, `regress`, `list --server` and `predict --output`, and what files they read and write."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.core.errors import ArgumentError, ContentError, SamplesError
from attnexport.core.reading import read_stream
from attnexport.workflows import example_files, predict_inputs
from attnexport.workflows.example_files import read_examples
from attnexport.workflows.predict_inputs import open_source
from attnexport.workflows.predict_outputs import write_outputs

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(attnexport: Run, server: Any) -> Run:
    return lambda name, *words: attnexport(name, "--server", server.address, "--model", "m", *words)


def test_each_kind_of_file_gives_the_same_examples(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('[{"x": [1, 2], "name": "a"}, {"x": [3, 4.5], "name": "b"}]')
    (tmp_path / "columns.json").write_text('{"x": [[1, 2], [3, 4.5]], "name": ["a", "b"]}')
    (tmp_path / "body.json").write_text('{"examples": [{"x": [1, 2], "name": "a"}, {"x": [3, 4.5], "name": "b"}]}')
    (tmp_path / "rows.csv").write_text("x_0,x_1,name\n1,2,a\n3,4.5,b\n")
    np.savez(tmp_path / "arrays.npz", x=np.array([[1, 2], [3, 4.5]]), name=np.array(["a", "b"]))
    for name in ("rows.json", "columns.json", "body.json", "rows.csv", "arrays.npz"):
        examples = read_examples(tmp_path / name)
        assert [[*map(float, each["x"])] for each in examples] == [[1, 2], [3, 4.5]], name
        assert [each["name"] for each in examples] == ["a", "b"], name


@pytest.mark.parametrize(
    ("name", "text", "kind", "words"),
    [
        ("a.json", "{", SamplesError, "not JSON"),
        ("a.json", "[]", SamplesError, "at least one"),
        ("a.json", '{"x": [1], "y": [1, 2]}', SamplesError, "all of one length"),
        ("a.csv", "x\n", SamplesError, "at least one example"),
        ("a.csv", "x,y\n1\n", SamplesError, "line 2: 1 cells under 2 names"),
        ("a.txt", "", ArgumentError, "not a .json, .csv or .npz"),
    ],
)
def test_what_is_no_examples_is_told(tmp_path: Path, name: str, text: str, kind: type[Exception], words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(kind, match=words):
        read_examples(tmp_path / name)


def test_classify_and_regress_find_their_signature_and_show_the_best(ask: Run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x_0,x_1\n1.0,2.0\n-5.0,1.0\n")
    code, out, err = ask("classify", "--samples", "x.csv")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()[3:]] == [
        ["0", "sum", "3.0000", "minus", "-3.0000"], ["1", "minus", "4.0000", "sum", "-4.0000"],
    ]  # fmt: skip
    document = json.loads(ask("regress", "--samples", "x.csv", "--json")[1])
    assert (document["signature"], document["results"]) == ("regress", [3.0, -4.0])
    code, out, _ = ask("classify", "--samples", "x.csv", "--output", "y.csv")
    assert code == 0
    [first, second] = csv.DictReader(io.StringIO((tmp_path / "y.csv").read_text()))
    assert (first["label"], second["label"], second["score of sum"]) == ("sum", "minus", "-4.0")
    ask("regress", "--samples", "x.csv", "--output", "y.npz")
    with np.load(tmp_path / "y.npz") as written:
        assert written["value"].tolist() == [3.0, -4.0]


def test_a_signature_of_another_method_is_told(ask: Run, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"x": 1.0}]')
    code, _, err = ask("classify", "--samples", "x.json", "--signature", "regress")
    assert (code, "signature 'regress' has the method regress, not classify" in err) == (2, True)
    code, _, err = ask("classify", "--samples", "x.json", "--signature", "clasify")
    assert (code, "did you mean 'classify'" in err) == (2, True)


def test_predictions_are_written_as_csv_and_json(ask: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.arange(6, dtype="f").reshape(2, 3))
    assert ask("predict", "--samples", "x.npz", "--output", "y.csv")[0] == 0
    [titles, *rows] = csv.reader(io.StringIO((tmp_path / "y.csv").read_text()))
    assert titles == ["n", "y_0", "y_1", "y_2"]
    assert [list(map(float, row)) for row in rows] == [[2, 3, 5, 7], [2, 9, 11, 13]]
    assert ask("predict", "--samples", "x.npz", "--output", "y.json")[0] == 0
    assert json.loads((tmp_path / "y.json").read_text())["outputs"]["y"] == [[3, 5, 7], [9, 11, 13]]
    code, _, err = ask("predict", "--samples", "x.npz", "--output", "y.csv", "--signature", "total")
    assert (code, "write them to a .npz or .json" in err) == (3, True)


def test_a_csv_holds_no_formulas(tmp_path: Path) -> None:
    texts = ["=1+1", "@x", "+1-cmd|' /C calc'!A0", "-x", "\t=1", "\uff1d1", "-1.5e3", "+2", "-", "a=b", "", "'="]
    outputs = {"=x": np.array([each.encode() for each in texts], object), "y": np.full(len(texts), -np.inf)}
    notes = write_outputs(tmp_path / "y.csv", outputs)
    assert notes == ("7 cells begin as formulas do; an apostrophe stands before them, or a spreadsheet would run them",)
    [titles, *rows] = csv.reader(io.StringIO((tmp_path / "y.csv").read_bytes().decode(), newline=""))
    assert titles == ["'=x", "y"]
    assert [row[0] for row in rows] == [f"'{each}" for each in texts[:6]] + texts[6:]
    assert {row[1] for row in rows} == {"-Infinity"}
    [note] = write_outputs(tmp_path / "one.csv", {"=x": np.zeros(2)})
    assert note == "1 cell begins as a formula does; an apostrophe stands before it, or a spreadsheet would run it"


class Endless(io.RawIOBase):
    """A stream of one byte, as /dev/zero is."""

    def __init__(self, head: bytes) -> None:
        self._head = head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = self._head + bytes(len(buffer) - len(self._head))
        self._head = b""
        return len(buffer)


def test_a_stream_is_read_up_to_a_limit() -> None:
    assert read_stream(io.BytesIO(bytes(5)), 5, "stdin") == bytes(5)
    for head, limit in ((b"[", 1 << 20), (b"PK", 1 << 22), (b"\x93NUMPY", 1 << 22)):
        with pytest.raises(ContentError, match=f"stdin is larger than the {limit:,} bytes that are read of it"):
            read_stream(io.BufferedReader(Endless(head)), 1 << 20, "stdin", 1 << 22)


@pytest.mark.parametrize("read", [read_examples, open_source])
def test_a_file_is_read_up_to_a_limit(
    read: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.json").symlink_to("/dev/zero")
    for module in (example_files, predict_inputs):
        for name in {"MAX_JSON_EXAMPLES", "MAX_JSON_SAMPLES"} & vars(module).keys():
            monkeypatch.setattr(module, name, 1000)
    with pytest.raises(
        SamplesError, match=r"x.json is larger than the 1,000 bytes that are read of it; (send|save) such"
    ):
        read(tmp_path / "x.json")
    (tmp_path / "y.json").mkdir()
    with pytest.raises(SamplesError, match=r"^samples .*y.json cannot be read: Is a directory$"):
        read(tmp_path / "y.json")


def test_a_server_that_cannot_list_its_models_is_told_apart(attnexport: Run, server: Any) -> None:
    for words in (("list",), ("status",)):
        code, _, err = attnexport(*words, "--server", server.address)
        assert code == 6
        assert "does not list its models, as TensorFlow Serving cannot" in err
        assert "name one to status" in err
    code, _, err = attnexport("status", "--server", server.address, "--wait")
    assert (code, "--wait needs --model" in err) == (2, True)


def test_an_embedded_server_lists_its_models(attnexport: Run, serving: Any) -> None:
    address = serving.server.address
    code, out, _ = attnexport("list", "--server", address)
    assert (code, out.split()) == (0, ["model", "version", "state", "m", "2", "AVAILABLE", "1", "AVAILABLE"])
    assert json.loads(attnexport("status", "--server", address, "--json")[1])["models"]["m"][0]["version"] == 2


def test_tokens_that_numpy_made_int64_are_sent_as_the_model_takes_them(client: Any, server: Any) -> None:
    arrays = {"a": np.ones((2, 2), "f"), "b": np.array([[1, 2], [3, 4]])}
    assert arrays["b"].dtype == np.int64
    assert client.predict(arrays, signature="two")["sum"].tolist() == [[2, 3], [4, 5]]
    sent = next(request for name, request, _ in server.service.calls if name == "Predict")
    assert sent.inputs["b"].dtype == 3, "DT_INT32"
    asked = [name for name, _, _ in server.service.calls].count("GetModelMetadata")
    client.predict(arrays, signature="two")
    assert [name for name, _, _ in server.service.calls].count("GetModelMetadata") == asked, "asked once"
