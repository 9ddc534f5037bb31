"""Exports of earlier versions, as they wrote them: read, inspected, validated and converted.

`exports/0.1.0/small` is `attnexport savedmodel --preset classifier --steps 3 --features 4 --d-k 2 --units 3 --classes 2
--pooling average --signature classify --labels labels.txt`, then `attnexport tflite` with int8 and with auto, then
`attnexport validate`, all of version 0.1.0.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from attnexport.store import ExportDirectory
from attnexport.tflite import load_recipe
from attnexport.tflite.search.result import read_candidates

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

Run = Callable[..., tuple[int, str, str]]

EXPORTS = Path(__file__).parent / "exports"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXPORTS / "0.1.0" / "small", tmp_path / "small"))


def test_the_documents_of_0_1_0_are_read(old: Path) -> None:
    entry = ExportDirectory(old).newest()
    assert entry.environment["attnexport"] == "0.1.0"
    assert [(each.title, each.precision, each.change(old)) for each in entry.artifacts] == [
        ("Keras", "float32", None),
        ("SavedModel", "float32", None),
        ("int8", "int8", None),
        ("auto", "dynamic", None),
    ]
    assert all(each.validation is not None and each.validation.passed for each in entry.artifacts[1:])
    assert load_recipe(old / "recipes" / "1" / "auto.json").precision == "dynamic"
    candidates = read_candidates(old / "recipes" / "1" / "auto.search.json")
    assert [each.chosen for each in candidates].count(True) == 1


def test_an_export_of_0_1_0_is_inspected_validated_and_converted(attnexport: Run, old: Path) -> None:
    code, out, err = attnexport("inspect", old, "--json")
    assert (code, err) == (0, "")
    assert [each["version"] for each in json.loads(out)["versions"]] == [1]
    code, out, err = attnexport("tflite", old, "-q", "float16", "--quiet")
    assert (code, err) == (0, ""), err
    assert (old / "tflite" / "1" / "small.float16.tflite").exists()
    assert not (old / "keras" / "2.keras").exists()
    code, out, err = attnexport("validate", old, "--json", "--quiet")
    assert code == 0, err
    document = json.loads(out)
    assert {each["artifact"] for each in document["checks"]} >= {"saved_model/1", "tflite/1/small.float16.tflite"}
