"""`attnexport.validate`: the verdict as a value, and as a notebook shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import attnexport as ax
from attnexport.core import ArgumentError, StorageError


def test_an_export_is_validated_from_python(exported: Path, digits: Any, tmp_path: Path) -> None:
    """Samples in memory; the result has a truth value, prints as the table and shows pictures in a notebook."""
    with np.load(digits.evaluation) as samples:
        evaluation = {name: samples[name][:64] for name in samples.files}
    seen: list[tuple[int, int | None]] = []

    def progress(message: str, /, *, done: int = 0, total: int | None = None) -> None:
        if message == "comparing":
            seen.append((done, total))

    result = ax.validate(exported, evaluation=evaluation, html=tmp_path / "report.html", progress=progress)
    assert result
    assert result.failure is None
    assert result.report == tmp_path / "report.html"
    assert result.data.name == "64 evaluation samples"
    assert seen[0] == (0, len(seen) - 1)
    assert seen[-1] == (len(seen) - 1, len(seen) - 1)
    assert "tflite/1/digits-multihead.int8.tflite" in str(result)
    assert all(each.latency_ms > 0 for each in result.candidates)
    html = result._repr_html_()
    assert html.startswith("<p>✓ Passed: all ")
    assert html.count("<img ") == 2
    assert "SQNR over latency" in html
    assert html.count("<table>") == 1


def test_a_failure_is_a_value_with_its_sample(exported: Path, tmp_path: Path) -> None:
    result = ax.validate(str(exported), limits=ax.Limits(min_sqnr_db=60))
    assert not result
    assert result.only_numbers_failed
    assert result.failure is not None
    assert "int8.tflite (interpreter), serving_default output 'logits' on 64 synthetic samples: SQNR" in result.failure
    html = result._repr_html_()
    assert re.match(r"<p>✗ Failed: \d of ", html)
    assert html.count("<img ") == 1, "latency is not measured without a report"
    written = result.write_failed_input(tmp_path / "failed.npz")
    assert written is not None
    assert not ax.validate(exported, evaluation=written, limits=ax.Limits(min_sqnr_db=60))
    with pytest.raises(StorageError):
        result.write_failed_input(tmp_path / "nowhere" / "failed.npz")


def test_bad_arguments_are_refused_before_tensorflow_is_loaded(exported: Path, run_python: Any) -> None:
    with pytest.raises(ArgumentError, match="max_accuracy_drop needs evaluation samples"):
        ax.validate(exported, limits=ax.Limits(max_accuracy_drop=1))
    code = (
        "import sys, attnexport as ax\n"
        "for options in ({'evaluation': 'nowhere.npz'}, {'recorded': ['nowhere.npz']}, {'html': 'nowhere/x.html'}):\n"
        "    try:\n"
        "        ax.validate(sys.argv[1], **options)\n"
        "    except ValueError as error:\n"
        "        print(error)\n"
        "assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
    )
    done = run_python(code, str(exported))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "samples nowhere.npz do not exist",
        "recording nowhere.npz does not exist",
        "html: nowhere/x.html is in nowhere, which is not a directory",
    ]
