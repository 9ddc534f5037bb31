"""`attnexport tflite` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.store.export_directory import ExportDirectory

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_children")]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def trained(digits: Any) -> tuple[Path, list[str]]:
    """The multi-head digits model, and its samples as options."""
    return digits.models["digits-multihead"], [
        "--calibration", str(digits.calibration), "--evaluation", str(digits.evaluation),
    ]  # fmt: skip


def test_without_more_arguments_it_works(attnexport: Run, tmp_path: Path) -> None:
    code, out, err = attnexport("tflite", "--quantize", "int8")
    assert code == 0
    assert "note: exported first as export/classifier/saved_model/1" in err
    assert "int8 is calibrated, and parity measured, on 160 seeded synthetic samples" in err
    assert "classifier.int8.tflite" in out
    entry = ExportDirectory(tmp_path / "export" / "classifier").newest()
    kept = entry.artifact("tflite")
    assert kept is not None
    assert kept.recipe is not None
    assert (kept.recipe["name"], kept.precision, kept.calibration and kept.calibration["samples"]) == (
        "int8",
        "int8",
        128,
    )
    assert (tmp_path / "export" / "classifier" / kept.path).stat().st_size == kept.size_bytes


def test_digits_by_several_recipes_at_once(attnexport: Run, trained: tuple[Path, list[str]]) -> None:
    model, data = trained
    words = [word for recipe in ("float32", "float16", "dynamic", "int8") for word in ("-q", recipe)]
    code, out, err = attnexport("tflite", model, *words, *data, "--json")
    assert code == 0, err
    document = json.loads(out)
    files = {each["recipe"]: each for each in document["files"]}
    assert list(files) == ["float32", "float16", "dynamic", "int8"]
    for name, agreement in (("float16", 1.0), ("dynamic", 1.0), ("int8", 0.99)):
        assert files[name]["evaluation"]["agreement"] >= agreement
        assert files[name]["evaluation"]["accuracy"] >= 0.96
        assert files[name]["partitions"] == 1
    assert files["int8"]["evaluation"]["sqnr_db"] >= 40
    assert files["int8"]["parity"]["passed"]

    code, out, _ = attnexport("tflite", model, "-q", "int8", *data)
    assert code == 0
    assert "(up to date)" in out
    other = [*data, "--calibrator", "percentile-99.9"]
    code, _, err = attnexport("tflite", model, "-q", "int8", *other)
    assert code == 3
    assert "exists already with other content, and a version does not change; --force replaces it" in err
    code, out, err = attnexport("tflite", model, "-q", "int8", *other, "--force")
    assert (code, "(replaced)" in out) == (0, True), err


def test_a_recipe_of_ones_own_and_a_version_by_number(attnexport: Run, tmp_path: Path) -> None:
    attnexport("savedmodel")
    attnexport("savedmodel", "--seed", "5")
    (tmp_path / "mine.json").write_text('{"weights": "int4", "activations": "float32", "min_sqnr_db": 10}')
    code, out, err = attnexport("tflite", "export/classifier", "--version", "1", "-q", "mine.json")
    assert code == 0, err
    assert "export/classifier/tflite/1" in out
    assert (tmp_path / "export/classifier/tflite/1/classifier.mine.tflite").exists()
    code, _, err = attnexport("tflite", "export/classifier", "--version", "7")
    assert (code, "has no version 7; there is 1, 2" in err) == (2, True)
    # The same preset again finds its version, though a newer one is there.
    code, out, _ = attnexport("tflite", "-q", "float16")
    assert (code, "export/classifier/tflite/1" in out) == (0, True)


def test_a_saved_model_is_its_own_original(attnexport: Run, exported_classifier: Any) -> None:
    samples = np.random.default_rng(0).standard_normal((50, 10, 64)).astype(np.float32)
    np.save("samples.npy", samples)
    code, out, err = attnexport(
        "tflite", exported_classifier.path, "-q", "int8", "--calibration", "samples.npy", "--signature", "attention"
    )
    assert code == 0, err
    assert "Parity is against the SavedModel in a session" in out


def test_a_model_that_computes_in_16_bits_is_built_again(attnexport: Run, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        from attnexport.exporter import MultiHeadAttentionConcat

        layers = [
            keras.Input((8, 16), name="x"),
            MultiHeadAttentionConcat(2, 16, 8),
            keras.layers.Dense(4, dtype="float32"),
        ]
        keras.Sequential(layers).save(tmp_path / "mixed.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    code, _, err = attnexport("tflite", "mixed.keras", "-q", "float32")
    assert code == 0, err
    assert "whose answers are at SQNR" in err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["-q", "int9"], 2, "there is no recipe 'int9'; did you mean 'int8'?"),
        (["-q", "nowhere.json"], 2, "recipe nowhere.json does not exist"),
        (["-q", "int8", "-q", "int8"], 2, "two recipes are called 'int8'"),
        (["-q", "float16", "--integer-only"], 2, "integer_only is for int8 and int16 activations"),
        (["-q", "int8", "--io", "int12"], 2, "there is no type 'int12'"),
        (["-q", "int8", "--keep-float", "("], 2, "is not a regular expression"),
        (["-q", "int8", "--keep-float", "nowhere"], 3, "keep_float 'nowhere' matches no operator"),
        (["-q", "int8", "--max-size", "10k"], 5, "--max-size allows 10,000"),
        (["--max-size", "small"], 2, "'small' is not a size in bytes"),
        (["-q", "int8", "--min-sqnr", "70"], 4, "(70 dB needed)"),
        (["--steps", "dynamic"], 2, "a .tflite needs fixed ones; fix the steps with --steps N"),
        (["--preset", "attention", "-q", "int8"], 5, "nothing in it is computed in int8"),
        (["--signature", "scores"], 2, "there is no signature 'scores'; there is 'attention' or 'serving_default'"),
        (["--pooling", "average", "--signature", "classify"], 2, "signature 'classify' has strings"),
        (["--batch", "0"], 2, "0 is not in the range"),
        (["--calibration", "nowhere.npz"], 2, "samples nowhere.npz do not exist"),
        (["-q", "int8", "--min-sqnr", "nan"], 2, "min_sqnr_db must be a number of dB"),
        (["nowhere.keras"], 2, "model nowhere.keras does not exist"),
    ],
)
def test_bad_input(words: list[str], code: int, told: str, attnexport: Run, tmp_path: Path) -> None:
    found, out, err = attnexport("tflite", *words)
    assert (found, out) == (code, "")
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1
    assert told in lines[0]
    assert not list(tmp_path.glob("export/*/tflite/*/*"))
    assert not list(tmp_path.glob("export/*/.tmp-*"))


def test_a_users_model_needs_samples_for_int8(attnexport: Run, digits: Any, tmp_path: Path) -> None:
    code, _, err = attnexport("tflite", digits.models["digits-attention"], "-q", "int8")
    assert code == 2
    assert "int8 needs samples to calibrate with: --calibration FILE" in err
    assert not (tmp_path / "export").exists()


def test_a_tflite_as_model_is_refused(attnexport: Run, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"\0\0\0\0TFL3")
    code, _, err = attnexport("tflite", "model.tflite")
    assert code == 3
    assert "is a .tflite, which cannot be turned back into a model" in err


def test_what_failed_is_kept_when_asked(attnexport: Run, tmp_path: Path) -> None:
    code, _, err = attnexport("tflite", "-q", "int8", "--max-size", "1k", "--keep-failed")
    assert code == 5
    assert "kept for inspection as export/classifier/failed/int8.failed.tflite" in err
    code, out, _ = attnexport("inspect", "export/classifier/failed/int8.failed.tflite")
    assert (code, "BATCH_MATMUL" in out) == (0, True)


def test_bytes_are_the_same_in_another_process(
    attnexport: Run, fork_python: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    words = ["-q", "float16", "-q", "dynamic", "-q", "int8", "-q", "int16x8"]
    assert attnexport("tflite", *words)[0] == 0
    code = "import sys; from attnexport.cli.main import main; main(sys.argv[1:])"
    again = fork_python(code, "tflite", *words, "--output", "again", "--json")
    assert again.returncode == 0, again.stderr
    first = sorted((tmp_path / "export").rglob("*.tflite"))
    assert len(first) == 4
    for path in first:
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "export")).read_bytes()


def test_a_version_of_another_model_is_refused(attnexport: Run, digits: Any, tmp_path: Path) -> None:
    attnexport("savedmodel", "--name", "mine")
    code, _, err = attnexport("tflite", digits.models["digits-attention"], "--name", "mine", "--version", "1")
    assert code == 2
    assert "version 1 of export/mine is not known to be of this model; name the export itself" in err


def test_a_damaged_or_deleted_file_is_made_again(attnexport: Run, tmp_path: Path) -> None:
    attnexport("tflite", "-q", "float16")
    path = tmp_path / "export/classifier/tflite/1/classifier.float16.tflite"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    code, out, _ = attnexport("tflite", "-q", "float16")
    assert (code, "(repaired)" in out, path.read_bytes()) == (0, True, whole)
    path.unlink()
    assert attnexport("tflite", "-q", "float16")[0] == 0
    assert path.read_bytes() == whole


def test_recipes_that_pass_are_kept_where_others_fail(attnexport: Run, tmp_path: Path) -> None:
    (tmp_path / "strict.json").write_text('{"weights": "int4", "activations": "dynamic", "min_sqnr_db": 90}')
    code, out, err = attnexport("tflite", "-q", "strict.json", "-q", "float16")
    assert (code, "float16" in out) == (4, True)
    assert "the strict .tflite was not kept" in err
    assert [path.name for path in tmp_path.glob("export/*/tflite/*/*")] == ["classifier.float16.tflite"]


def test_a_saved_model_of_fixed_batch_keeps_it(attnexport: Run) -> None:
    attnexport("savedmodel", "--batch", "4", "--signature", "serving_default", "--name", "four")
    code, _, err = attnexport("tflite", "export/four/saved_model/1", "-q", "float16", "--name", "copy")
    assert code == 0, err
    code, out, _ = attnexport("inspect", "export/copy/tflite/1/copy.float16.tflite")
    assert "sequence: float32 [4, 10, 64]" in out
