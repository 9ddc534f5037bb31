"""Cases that are taken to a device: written, run there, and judged when they come back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def device(exported: Path, root: Path, tmp_path: Path) -> Callable[[], None]:
    """What docs/how-to/run-on-a-device.md says to run on a device, on cases.npz in the working directory."""
    [code] = re.findall(
        r"```python\n(.*?)```", (root / "docs" / "how-to" / "run-on-a-device.md").read_text(), re.DOTALL
    )

    def run() -> None:
        shutil.copytree(exported, tmp_path / "export" / exported.name, dirs_exist_ok=True)
        exec(compile(code.replace("classifier", exported.name), "run-on-a-device.md", "exec"), {})

    return run


def changed(name: str, **changes: Any) -> str:
    """Write pixel.npz under another name, with entries changed, or left out where None."""
    with np.load("pixel.npz") as recorded:
        arrays = {**recorded, **changes}
    np.savez(name, **{key: array for key, array in arrays.items() if array is not None})
    return name


def test_a_device_is_a_runtime(attnexport: Run, exported: Path, digits: Any, device: Callable[[], None]) -> None:
    """Written, run by a plain interpreter and judged: right answers pass, and each kind of wrong ones is said."""
    given = ("validate", exported, "--evaluation", digits.evaluation)
    code, out, err = attnexport(*given, "--write-cases", "cases.npz")
    assert (code, err) == (0, "")
    assert "10 cases for a device are in cases.npz" in out
    with np.load("cases.npz") as cases:
        assert sum(len(cases[key]) for key in cases.files if key.startswith(("0000/", "0001/"))) == 397
        assert not [key for key in cases.files if key.endswith("/logits")]
        assert b"zeros" in cases["names"].tolist()
        assert len(cases["artifacts"]) == 2
    device()

    judge = (*given, "--recorded", "pixel.npz")
    code, out, _ = attnexport(*judge, "--json")
    assert code == 0
    checks = [each for each in json.loads(out)["checks"] if each["runtime"] == "pixel.npz"]
    assert {each["artifact"] for each in checks} == {"tflite/1/digits-multihead.int8.tflite"}
    on_data = next(each["measured"] for each in checks if not each["is_edge"])
    assert on_data["samples"] == 397
    assert on_data["accuracy"] >= 0.96
    assert len(checks) == 9

    with np.load("pixel.npz") as recorded:
        logits, zeros = recorded["0000/serving_default/logits"], recorded["0002/serving_default/logits"]
    other = changed("other.npz", **{"0000/serving_default/logits": logits[:, ::-1]})
    code, _, err = attnexport(*given, "--recorded", other)
    assert code == 4
    assert "int8.tflite (other.npz), serving_default output 'logits' on 397 evaluation samples: SQNR" in err

    nan = np.where(logits == logits[3, 4], np.nan, logits)
    wrong = {
        "nan.npz": ({"0000/serving_default/logits": nan}, "holds NaN or infinity at [3, 4]"),
        "shape.npz": ({"0002/serving_default/logits": zeros[:1]}, "shape [1, 10] instead of [2, 10]"),
        "type.npz": ({"0002/serving_default/logits": zeros.astype("f8")}, "dtype float64 instead of float32"),
        "lacks.npz": ({"0002/serving_default/logits": None}, "no outputs of signature 'serving_default' were recorded"),
        "named.npz": (
            {"0002/serving_default/logits": None, "0002/serving_default/scores": zeros},
            "outputs 'scores' instead of 'logits'",
        ),
    }
    for name, (changes, _) in wrong.items():
        changed(name, **changes)
    words = [word for name in wrong for word in ("--recorded", name)]
    code, out, _ = attnexport(*given, *words, "--json")
    assert code == 5
    checks = json.loads(out)["checks"]
    for name, (_, told) in wrong.items():
        [problem] = {each["problem"] for each in checks if each["runtime"] == name} - {None}
        assert told in problem


def test_what_answers_no_cases_is_refused(
    attnexport: Run, exported: Path, digits: Any, device: Callable[[], None]
) -> None:
    assert attnexport("validate", exported, "--write-cases", "cases.npz")[0] == 0
    device()
    zeros = np.zeros((2, 10), "f")
    for changes, told in (
        ({"0099/serving_default/logits": zeros}, "contains unknown case 0099/serving_default"),
        ({"logits": zeros}, "contains 'logits'; outputs are named NUMBER/SIGNATURE/OUTPUT"),
        ({"artifact": np.bytes_("phone.tflite")}, "was recorded with 'phone.tflite'; the version has 'tflite/1/"),
        ({"cases": None}, "is not a recording: it has no text 'cases'"),
    ):
        code, _, err = attnexport("validate", exported, "--recorded", changed("wrong.npz", **changes))
        assert (code, told in err) == (3, True), err
    evaluated = ("--evaluation", digits.evaluation, "--recorded", "pixel.npz")
    code, _, err = attnexport("validate", exported, *evaluated)
    assert (code, "has the outputs of other cases" in err) == (3, True), err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--write-cases", "cases.txt"], 2, "cases are written to an .npz file; received cases.txt"),
        (["--write-cases", "nowhere/cases.npz"], 3, "cannot write nowhere/cases.npz"),
        (["--recorded", "nowhere.npz"], 2, "recording nowhere.npz does not exist"),
    ],
)
def test_bad_files(words: list[str], code: int, told: str, attnexport: Run, exported: Path) -> None:
    found, out, err = attnexport("validate", exported, *words)
    assert (found, out, told in err) == (code, "", True), err
    assert not list(Path.cwd().iterdir())
