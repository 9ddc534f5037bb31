"""What a person sees: on a real terminal, at 80 and 120 columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.workflows.result import Line, Result, Table
from tests.terminal import Shown, run_on_terminal

pytestmark = pytest.mark.usefixtures("forked_children")

WIDTHS = (80, 120)
LIBRARIES = re.compile(r"it/s\]|Warning|WARNING|I0000|absl|XNNPACK delegate|Traceback|tensorflow/")
# Lines to copy, and messages, are one line each, which the terminal wraps.
COPIED = ("note: ", "attnexport: ", "  attnexport ", "  tensorflow_model_server ", "  saved_model_cli ", "  curl ")


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Iterator[Callable[..., Shown]]:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    with capfd.disabled():
        yield run_on_terminal


def words_of(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


@pytest.mark.slow  # one conversion, and one validation at each width
def test_nothing_but_ours_is_shown_and_everything_fits(show: Callable[..., Shown], export: Path) -> None:
    samples = np.random.default_rng(0).random((40, 8, 8), np.float32)
    np.savez("samples.npz", rows=samples, labels=np.arange(40) % 10)
    name = export.name
    commands: tuple[tuple[str | Path, ...], ...] = (
        ("tflite", name, "-q", "int8", "--calibration", "samples.npz", "--evaluation", "samples.npz", "--force"),
        ("inspect", f"{name}/tflite/1/{name}.int8.tflite"),
        ("list",),
        ("benchmark", name, "--rounds", "3"),
        ("validate", name, "--evaluation", "samples.npz"),
    )
    for words in commands:
        for columns in WIDTHS[: 1 if words[0] == "benchmark" else None]:
            shown = show(columns, *words)
            assert not LIBRARIES.search(shown.text), shown.text
            assert shown.code in (0, 4), shown.text
            # One word alone may be longer than a line: a path, or a tensor's name.
            wide = [line for line in shown.lines if len(line) > columns and len(line.split()) > 1]
            long = [line for line in wide if not line.startswith(COPIED)]
            assert not long, (words, columns, long)
            for line in shown.lines:
                assert "partiti" not in line.replace("partitions", "").replace("partition", ""), "a word was folded"


@pytest.mark.parametrize("columns", WIDTHS)
def test_progress_is_there_before_anything_else(
    show: Callable[..., Shown], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    def work(*arguments: Any, progress: Any, **options: Any) -> Any:
        progress("loading TensorFlow")
        progress("comparing " + 30 * "a long name ", done=1, total=3)
        raise KeyboardInterrupt

    monkeypatch.setattr("attnexport.workflows.inspect.inspect", work)
    shown = show(columns, "inspect", "x.tflite")
    assert shown.code == 130
    assert "loading TensorFlow…" in shown.text
    assert "1/3" in shown.text
    assert shown.lines[-1] == "attnexport: interrupted"


class Verdicts(Result):
    notes = ()

    def to_dict(self) -> dict[str, Any]:
        return {}

    def blocks(self) -> list[Any]:
        rows = [
            ("tflite/1/a-name-that-is-long.int8.tflite", "interpreter, CompiledModel", "41.2 dB", "", "passed"),
            ("tflite/1/a-name-that-is-long.int4.tflite", "interpreter, CompiledModel", "11.2 dB", "", "FAILED"),
        ]
        return [Table(("artifact", "runtime", "SQNR", "accuracy", "verdict"), rows, ("SQNR",)), Line("  attnexport x")]


def test_verdicts_are_coloured_unless_that_is_not_wanted(
    show: Callable[..., Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnexport.workflows.inspect.inspect", lambda *_, **__: Verdicts())
    raw = show(120, "inspect", "x").raw
    assert "\x1b[32mpassed\x1b[0m" in raw
    assert "\x1b[31mFAILED\x1b[0m" in raw
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[3[0-9]m", show(120, "inspect", "x", "--quiet").raw)


def test_a_table_keeps_its_words_whole_and_drops_what_says_nothing(
    show: Callable[..., Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnexport.workflows.inspect.inspect", lambda *_, **__: Verdicts())
    wide = show(120, "inspect", "x").lines
    assert wide[0].split() == ["artifact", "runtime", "SQNR", "verdict"], "no column for accuracy"
    assert len(wide) == 4
    narrow = show(80, "inspect", "x").lines
    assert all(len(line) <= 80 for line in narrow)
    assert "41.2 dB" in words_of(narrow)
    assert show(40, "inspect", "x").lines[:3] == [
        "tflite/1/a-name-that-is-long.int8.tflite",
        "  runtime interpreter, CompiledModel",
        "  SQNR 41.2 dB  verdict passed",
    ]


class Measured(Verdicts):
    def blocks(self) -> list[Any]:
        rows = [("0.010 ms", "±2%", "1.00", "9.8 kB", "a/long-name-of-a-file.tflite")]
        parity = [("dynamic", "10 kB", "SQNR 43.6 dB (25 dB needed) of all outputs", "a-long-name-of-a-file.tflite")]
        return [
            Table(("p50", "spread", "speed", "size", "artifact"), rows, ("p50", "spread", "speed", "size")),
            Table(("recipe", "size", "parity", "file"), parity, ("size",)),
            Table(("signature", "takes"), [("serving_default_of_this_model", "sequence: float32 [?, 10, 64]")]),
        ]


def test_a_table_that_does_not_fit_is_paragraphs_named_by_words_without_columns_of_single_words(
    show: Callable[..., Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnexport.workflows.inspect.inspect", lambda *_, **__: Measured())
    assert show(54, "inspect", "x").lines == [
        "a/long-name-of-a-file.tflite",
        "  p50 0.010 ms  spread ±2%  speed 1.00  size 9.8 kB",
        "dynamic",
        "  size 10 kB",
        "  parity SQNR 43.6 dB (25 dB needed) of all outputs",
        "  file a-long-name-of-a-file.tflite",
        "signature                      takes",
        "serving_default_of_this_model  sequence: float32",
        "                               [?, 10, 64]",
    ]


def test_the_progress_has_erased_itself_before_a_result(show: Callable[..., Shown]) -> None:
    assert show(80, "list").lines[0] == "There are no exports in . or two directories below."


def test_each_step_is_a_line_with_verbose(
    attnexport: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: Any, progress: Any, **options: Any) -> Any:
        for done in range(3):
            progress("comparing", done=done, total=3)
        return Verdicts()

    monkeypatch.setattr("attnexport.workflows.inspect.inspect", work)
    code, out, err = attnexport("inspect", "x", "-v")
    assert (code, out.count("passed")) == (0, 1)
    assert re.fullmatch(r" +\d+\.\d s  comparing\n", err)
