"""`attnexport validate` with its workflow replaced: options in, one call, the verdict as an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.core.errors import StorageError
from attnexport.parity import Check, Figures, Limits, Validation
from attnexport.parity.report import ComparedData
from attnexport.workflows.validation_result import CasesResult, ValidationResult

Run = Callable[..., tuple[int, str, str]]

PASSED = Check("a.tflite", "interpreter", "int8", "s", "y", "data", False, Figures(samples=8, sqnr_db=41.0), None)
LOSSY = replace(PASSED, problem="SQNR 9.0 dB (25 dB needed)", offending={"x": np.ones((1, 2))})
BROKEN = replace(PASSED, measured=None, problem="holds NaN or infinity at [0, 1]")
DATA = ComparedData("8 synthetic samples", 8, "sha256:0", given=False)


def result(*checks: Check) -> ValidationResult:
    return ValidationResult(Path("export/m"), 1, Validation("Keras", checks), DATA, ("a note",))


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Any]]:
    """Make both workflows return this; gives their calls."""

    def set_result(returned: Any) -> list[Any]:
        calls: list[Any] = []

        def run(*arguments: Any, progress: Any, **options: Any) -> Any:
            calls.append((arguments, options))
            return returned

        monkeypatch.setattr("attnexport.workflows.validate.validate", run)
        monkeypatch.setattr("attnexport.workflows.validate.write_cases", run)
        return calls

    return set_result


def test_options_become_arguments(attnexport: Run, workflow: Any) -> None:
    calls = workflow(result(PASSED))
    words = ("--evaluation", "e.npz", "--min-sqnr", "30", "--recorded", "a.npz", "--recorded", "b.npz", "--import", "m")
    code, out, err = attnexport("validate", "export/m", *words, "--html", "--serve")
    assert (code, err) == (0, "note: a note\n")
    assert "a.tflite  interpreter  s          41.0 dB" in out
    attnexport("validate", "export/m", "--html", "x.html", "--server", "h:1", "--model", "n", "--layers")
    attnexport("validate", "export/m", "--version", "3")
    defaults = {
        "version": None,
        "evaluation": None,
        "imports": (),
        "server": None,
        "model": None,
        "serve": False,
        "limits": Limits(),
        "labels_for": None,
        "layers": False,
        "recorded": (),
        "html": False,
        "digest": None,
        "write_digest": False,
        "node_data": None,
        "against": None,
    }
    assert [arguments for arguments, _ in calls] == [(Path("export/m"),)] * 3
    assert [options for _, options in calls] == [
        {
            **defaults,
            "evaluation": "e.npz",
            "imports": ("m",),
            "serve": True,
            "limits": Limits(min_sqnr_db=30),
            "recorded": ("a.npz", "b.npz"),
            "html": True,
        },
        {**defaults, "html": "x.html", "server": "h:1", "model": "n", "layers": True},
        {**defaults, "version": 3},
    ]


@pytest.mark.parametrize(
    ("checks", "expected", "failure"),
    [
        ((PASSED, LOSSY), 4, "1 of 2 checks failed; the first: a.tflite (interpreter), s output 'y' on data: SQNR 9.0"),
        ((LOSSY, BROKEN), 5, "2 of 2 checks failed; the first: a.tflite (interpreter), s output 'y' on data: SQNR 9.0"),
    ],
)
def test_a_failed_verdict_is_printed_then_its_exit_code_tells_the_kind(
    attnexport: Run, workflow: Any, checks: tuple[Check, ...], expected: int, failure: str
) -> None:
    workflow(result(*checks))
    code, out, err = attnexport("validate", "export/m", "--json", "--failed-input", "failed.npz")
    assert code == expected
    assert json.loads(out)["passed"] is False
    assert failure in err
    assert "the sample is in failed.npz; --evaluation failed.npz runs it again" in err
    with np.load("failed.npz") as sample:
        assert np.array_equal(sample["x"], np.ones((1, 2)))


def test_a_report_that_could_not_be_written_is_a_failure_of_its_own(attnexport: Run, workflow: Any) -> None:
    unwritten = replace(result(PASSED), report_error=StorageError("cannot write r.html"))
    workflow(unwritten)
    code, out, err = attnexport("validate", "export/m", "--html", "r.html")
    assert (code, "passed" in out, "attnexport: cannot write r.html" in err) == (3, True, True)
    workflow(replace(unwritten, verdict=Validation("Keras", (LOSSY,))))
    assert attnexport("validate", "export/m", "--html", "r.html")[0] == 4


def test_cases_are_written_and_nothing_is_compared(attnexport: Run, workflow: Any) -> None:
    calls = workflow(CasesResult("m", 1, Path("c.npz"), 9, ("a.tflite",)))
    code, out, _ = attnexport("validate", "export/m", "--write-cases", "c.npz", "--evaluation", "e.npz")
    assert (code, out) == (0, "9 cases for a device are in c.npz\n")
    assert calls == [((Path("export/m"), "c.npz"), {"version": None, "evaluation": "e.npz", "imports": ()})]
    for words in (["--layers"], ["--html"], ["--serve"], ["--recorded", "x"], ["--min-sqnr", "3"], ["--server", "a:1"]):
        code, _, err = attnexport("validate", "export/m", "--write-cases", "c.npz", *words)
        assert (code, f"{words[0]} cannot be used with --write-cases" in err) == (2, True), err
