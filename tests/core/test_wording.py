"""Messages name options as they are typed on the command line, and as keywords in Python."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import attnexport as ax
from attnexport.core.errors import ArgumentError, RefusedError
from attnexport.core.signature import TensorSpec
from attnexport.core.wording import _OPTIONS, as_typed, worded
from attnexport.workflows.result import Line, Result, Table

ROOT = Path(__file__).resolve().parents[2]
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z_-]*[a-z]|-q)\b")
_KEYWORD = re.compile(r"\b([a-z_]+)=")
# Not messages to whoever calls a function: lines to copy, what servers say of themselves, what only the command has.
_ELSEWHERE = (
    "serving/server",
    "workflows/served.py",
    "workflows/deploy.py",
    "workflows/snippet.py",
    "core/child_process.py",
)


def _messages() -> list[tuple[str, str]]:
    """The strings with options outside of the command line, without docstrings; f-strings as they stand."""
    found = []
    for folder in ("core", "store", "parity", "exporter", "tflite", "serving", "docker", "workflows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name.startswith(_ELSEWHERE) or name == "core/wording.py":
                continue
            tree = ast.parse(path.read_text())
            docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            parts = {id(each) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for each in node.values}
            for node in ast.walk(tree):
                if id(node) in docs or id(node) in parts or not isinstance(node, ast.JoinedStr | ast.Constant):
                    continue
                text = ast.unparse(node) if isinstance(node, ast.JoinedStr) else node.value
                if isinstance(text, str) and _OPTION.search(text) and "attnexport " not in text:
                    found.append((name, text))
    return found


def test_every_option_that_a_message_names_has_a_keyword_of_the_functions() -> None:
    functions = [getattr(ax, name) for name in ax.__all__ if callable(getattr(ax, name))]
    keywords = {name for each in functions for name in inspect.signature(each).parameters}
    keywords |= {each.name for kind in (ax.SearchOptions, ax.ServeSettings) for each in dataclasses.fields(kind)}
    messages = [
        (name, text)
        for name, text in _messages()
        if not text.lstrip("f'\"").startswith(("  tensorflow_model_server", "  saved_model_cli"))
    ]
    assert len(messages) > 50
    named = {name for template in _OPTIONS.values() for name in re.findall(r"(\w+)[=(]", template)}
    assert named <= keywords | {"SearchOptions", "ServeSettings", "parse", "to_json"}
    for name, text in messages:
        shown = re.sub(r"\{[^{}]*\}", "1", text)
        words = worded(shown)
        assert not _OPTION.search(words), (name, text, words)
        used = set(_KEYWORD.findall(words)) - set(_KEYWORD.findall(shown))
        assert used <= keywords, (name, text, used - keywords)


@pytest.mark.parametrize(
    ("typed", "python"),
    [
        ("give --evaluation", "give evaluation"),
        ("--port is 0; give another --port, or --batch.", "port is 0; give another port, or batch."),
        ("fix them with --shape x.1=1,N,?,3, a number", "fix them with shapes={'x.1': (1, N, None, 3)}, a number"),
        ("fix it with --shape x=3; or --shape", "fix it with shapes={'x': (3,)}; or shapes"),
        ("fix the steps with --steps 8", "fix the steps with steps=8"),
        ("give --import my_layers or --trust", "give imports=['my_layers'] or trust=True"),
        ("give --import a --import b.c", "give imports=['a', 'b.c']"),
        ("use -q auto --min-sqnr 30, which", "use recipes='auto', min_sqnr_db=30, which"),
        ("such as --max-accuracy-drop 0.5", "such as search=SearchOptions(max_accuracy_drop=0.5)"),
        ("declare 'x' with --input 'x:int32[?,3]'", "declare 'x' with inputs=[TensorSpec.parse('x:int32[?,3]')]"),
        ("give --rest_api_port 0", "give rest_port=0"),
        ("without --enable_batching", "without ServeSettings(enable_batching=…)"),
        ("a--trust, --trustworthy and ---trust stay", "a--trust, --trustworthy and ---trust stay"),
    ],
)
def test_an_error_names_the_keyword_except_while_a_command_runs(typed: str, python: str) -> None:
    error = ArgumentError(typed)
    assert str(error) == python
    with as_typed():
        assert str(error) == typed
        with as_typed():
            pass
        assert str(error) == typed


def test_what_a_server_says_of_its_flags_stays_as_it_is() -> None:
    error = RefusedError("a:8500: the server runs with --enable_batching; give --model", address="a:8500")
    assert str(error) == "a:8500: the server runs with --enable_batching; give model"


def test_a_result_names_keywords_except_in_lines_to_copy() -> None:
    class Some(Result):
        def to_dict(self) -> dict[str, object]:
            return {}

        def blocks(self) -> list[object]:  # type: ignore[override]
            return ["give --evaluation", Line("attnexport validate --evaluation x"), Table(("--keep-float",), [["a"]])]

    lines = str(Some()).splitlines()
    assert [line.rstrip() for line in lines] == [
        "give evaluation", "attnexport validate --evaluation x", "keep_float=[…]", "a",
    ]  # fmt: skip
    assert "give evaluation" in Some()._repr_html_()


def test_a_function_tells_which_keyword_is_missing(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"")
    with pytest.raises(ArgumentError, match=r"int8 needs samples to calibrate with: calibration=FILE, an \.npz"):
        ax.convert(tmp_path / "model.keras", "int8", output=tmp_path)
    with pytest.raises(ArgumentError, match=r"such as search=SearchOptions\(min_agreement=0\.99\), min_sqnr_db=30 or"):
        ax.convert(tmp_path / "model.keras", "auto", calibration=[[1.0]], output=tmp_path)  # type: ignore[arg-type]
    assert TensorSpec.parse("x:int32[?,3]").shape == (None, 3)
