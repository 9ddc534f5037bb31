"""`attnexport tflite --quantize auto` as a user runs it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.store.export_directory import ExportDirectory
from attnexport.workflows.report import read_search

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

Run = Callable[..., tuple[int, str, str]]
EXPORT = Path("export/digits-attention")


@pytest.fixture
def words(digits: Any) -> list[str]:
    """The smaller digits model with its samples."""
    model = str(digits.models["digits-attention"])
    return ["tflite", model, "--calibration", str(digits.calibration), "--evaluation", str(digits.evaluation)]


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Press Ctrl-C after so many candidates."""
    from attnexport.tflite.search.trials import Trials

    def after(count: int) -> None:
        add = Trials._add

        def press(self: Any, trial: Any) -> None:
            add(self, trial)
            if trial.number == count:
                raise KeyboardInterrupt

        monkeypatch.setattr(Trials, "_add", press)

    return after


def test_the_file_the_recipe_and_why(attnexport: Run, words: list[str], tmp_path: Path) -> None:
    """The recipe makes the same bytes again in another export, and the table names every candidate in JSON."""
    budget = ["--min-sqnr", "26", "--min-agreement", "0.99", "--trials", "40"]
    code, out, err = attnexport(*words, "-q", "float16", "-q", "auto", *budget)
    assert code == 0, err
    told = " ".join(out.split())
    assert "candidates for SQNR 26 dB and agreement 0.99; no other one beats these" in told
    assert "the smallest with SQNR 26 dB and agreement 0.99 is " in told
    recipe = EXPORT / "recipes" / "1" / "auto.json"
    assert f"The recipe is {recipe}" in told
    file = EXPORT / "tflite" / "1" / "digits-attention.auto.tflite"
    made = file.read_bytes()
    assert len(made) < (EXPORT / "tflite" / "1" / "digits-attention.float16.tflite").stat().st_size

    document = json.loads((EXPORT / "recipes" / "1" / "auto.search.json").read_text())
    [chosen] = [each for each in document["trials"] if each["name"] == document["chosen"]][:1]
    assert (chosen["size_bytes"], chosen["within"], chosen["on_front"]) == (len(made), True, True)
    assert chosen["agreement"] >= 0.99
    smaller = [each for each in document["trials"] if each["within"] and each["size_bytes"] < len(made)]
    assert smaller == []
    entry = ExportDirectory(tmp_path / EXPORT).newest()
    candidates = read_search(ExportDirectory(tmp_path / EXPORT), entry)
    assert len(candidates) == len(document["trials"])
    assert [each.size_bytes for each in candidates if each.chosen] == [len(made)]
    kept = entry.artifact_at("tflite/1/digits-attention.auto.tflite")
    assert kept is not None
    assert kept.recipe is not None
    assert (kept.recipe["name"], kept.recipe["min_sqnr_db"]) == ("auto", 26)

    code, out, err = attnexport(*words, "-q", recipe, "--json")
    assert code == 0, err
    assert [each["state"] for each in json.loads(out)["files"]] == ["up to date"]
    code, _, err = attnexport(*words, "-q", recipe, "--output", "other")
    assert code == 0, err
    assert (Path("other") / file.relative_to("export")).read_bytes() == made


def test_what_nothing_meets_leaves_nothing_unless_it_is_to_be_kept(attnexport: Run, words: list[str]) -> None:
    budget = ["-q", "auto", "--min-sqnr", "40", "--max-size", "10k", "--trials", "25"]
    code, out, err = attnexport(*words, *budget)
    assert (code, out) == (4, "")
    told = r"auto: none of \d+ candidates has SQNR 40 dB and at most 10,000 bytes; nearest is .+: [\d,]+ bytes, SQNR "
    assert re.search(told, err), err
    assert not list(EXPORT.glob("tflite/*/*"))
    assert not (EXPORT / "recipes").exists()
    code, _, err = attnexport(*words, *budget, "--keep-failed")
    assert (code, "kept for inspection as export/digits-attention/failed/auto.failed.tflite" in err) == (4, True)
    assert (EXPORT / "failed" / "auto.failed.tflite").read_bytes()[4:8] == b"TFL3"


def test_ctrl_c_keeps_the_best_so_far_where_it_is_good_enough(
    attnexport: Run, words: list[str], interrupted: Callable[[int], None]
) -> None:
    interrupted(5)
    code, _, err = attnexport(*words, "-q", "auto", "--min-sqnr", "40", "--max-size", "10k")
    assert (code, "attnexport: interrupted" in err) == (130, True)
    assert not list(EXPORT.glob("tflite/*/*"))
    code, out, err = attnexport(*words, "-q", "auto", "--min-sqnr", "40")
    assert code == 130
    assert "note: interrupted after 5 candidates: the best so far was taken" in err
    assert "5 candidates for SQNR 40 dB" in out
    assert (EXPORT / "tflite" / "1" / "digits-attention.auto.tflite").exists()


def test_samples_that_calibrated_do_not_judge(attnexport: Run, words: list[str], digits: Any) -> None:
    with np.load(digits.evaluation) as arrays:
        rows, labels = arrays["rows"], arrays["labels"]
    with np.load(digits.calibration) as arrays:
        known = arrays["rows"]
    np.savez("mixed.npz", rows=np.concatenate([rows[:50], known[:7]]), labels=np.concatenate([labels[:50], labels[:7]]))
    budget = ["-q", "auto", "--min-sqnr", "20", "--trials", "3"]
    code, _, err = attnexport(*words, *budget, "--evaluation", "mixed.npz")
    assert code == 0, err
    assert "7 of 57 evaluation samples are among the calibration samples, and were left out" in err
    code, _, err = attnexport(*words, *budget, "--evaluation", digits.calibration)
    assert (code, "all evaluation samples are among the calibration samples" in err) == (3, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-q", "auto"], "auto needs a limit for what may be lost, such as --min-agreement 0.99, --min-sqnr 30"),
        (["-q", "auto", "--min-agreement", "99"], "min_agreement is a share from 0 to 1; received 99"),
        (["-q", "auto", "--max-accuracy-drop", "1"], "--max-accuracy-drop needs samples with labels: --evaluation"),
        (["-q", "auto", "--min-sqnr", "30", "--integer-only"], "auto searches among files with float inputs"),
        (["-q", "auto", "--min-sqnr", "30", "--objective", "speed"], "there is no objective 'speed'"),
        (["-q", "auto", "--min-sqnr", "30", "--objective", "size", "--fastest"], "--fastest is --objective latency"),
        (["-q", "auto", "--min-sqnr", "30", "--max-latency", "-1"], "max_latency must be a number of ms above 0"),
        (["-q", "auto", "-q", "auto", "--min-sqnr", "30"], "two recipes are called 'auto'"),
        (["-q", "int8", "--trials", "3"], "--trials works only with --quantize auto"),
        (["-q", "autp", "--min-sqnr", "30"], "there is no recipe 'autp'; did you mean 'auto'?"),
    ],
)
def test_bad_input(options: list[str], told: str, attnexport: Run, tmp_path: Path) -> None:
    code, out, err = attnexport("tflite", *options)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_model_of_ones_own_needs_samples(attnexport: Run, digits: Any) -> None:
    code, _, err = attnexport("tflite", digits.models["digits-attention"], "-q", "auto", "--min-sqnr", "30")
    assert (code, "auto needs samples to calibrate with: --calibration FILE" in err) == (2, True)
