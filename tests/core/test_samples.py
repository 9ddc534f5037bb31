"""Samples: every form they come in, and every way in which they do not fit."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.core import ArgumentError, SamplesError, Signature, TensorSpec, load_samples, synthetic_samples
from attnexport.core.samples import content_hash
from attnexport.workflows.predict_inputs import _read_bytes, read_inputs

X = TensorSpec("x", "float32", (None, 4, 3))
TOKENS = TensorSpec("tokens", "int32", (None, 4))
GOOD = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_npz_by_exported_or_keras_name_with_labels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", keras_tensor=GOOD, labels=np.arange(5))
    samples = load_samples(path, [X], {"keras_tensor": "x"})
    np.testing.assert_array_equal(samples.inputs["x"], GOOD)
    assert samples.labels is not None
    assert len(samples) == 5
    assert len(samples.take(2)) == 2
    np.testing.assert_array_equal(load_samples(save(tmp_path / "b.npz", x=GOOD), [X]).inputs["x"], GOOD)


def test_a_lone_array_needs_no_name_and_npy_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GOOD)
    samples = load_samples(tmp_path / "a.npy", [X])
    assert isinstance(samples.inputs["x"], np.memmap)
    np.savez(tmp_path / "lone.npz", GOOD)
    np.testing.assert_array_equal(load_samples(tmp_path / "lone.npz", [X]).inputs["x"], GOOD)


def test_a_directory_holds_one_npy_an_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", GOOD)
    np.save(tmp_path / "tokens.npy", np.ones((5, 4), np.int64))
    samples = load_samples(tmp_path, [X, TOKENS])
    assert samples.inputs["tokens"].dtype == np.int32


def test_float64_is_cast_with_a_word(tmp_path: Path) -> None:
    samples = load_samples(save(tmp_path / "a.npz", x=GOOD.astype(np.float64)), [X])
    assert samples.inputs["x"].dtype == np.float32
    assert "cast from float64 to float32" in samples.notes[0]


def _with(index: tuple[int, ...], value: float) -> Any:
    changed = GOOD.copy()
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": GOOD}, r"holds 'y', but the inputs are 'x'"),
        ({"x": GOOD.astype(np.int32)}, "has dtype int32; float32 is expected"),
        ({"x": GOOD[0]}, r"shape \[4, 3\].*batch dimension is missing"),
        ({"x": GOOD[:, :, :2]}, r"shape \[5, 4, 2\]; \[\?, 4, 3\] is expected"),
        ({"x": GOOD[:0]}, "holds no samples"),
        ({"x": _with((3, 1, 2), np.nan)}, r"NaN or infinity at \[3, 1, 2\]"),
        ({"x": _with((0, 0, 0), np.inf)}, "NaN or infinity"),
        ({"x": GOOD.astype(np.float64) * 1e39}, "NaN or infinity"),
        ({"x": GOOD, "labels": np.arange(4)}, "different numbers of samples"),
        ({"x": GOOD, "labels": np.array(3)}, r"'labels' has shape \[\]; \[\?\] is expected"),
        ({"x": np.array([[object()]])}, "not a readable numpy file"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(SamplesError, match=message) as error:
        load_samples(path, [X])
    assert str(path) in str(error.value)


def test_a_list_of_arrays_of_several_inputs_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(
        SamplesError, match="different lengths: pad or cut them, or give a dict of one array per input name"
    ):
        load_samples([GOOD, np.ones((5, 4))], [X, TOKENS])  # type: ignore[arg-type]
    with pytest.raises(SamplesError, match=r"^samples: 'tokens': its rows have different lengths .* cut them to one$"):
        load_samples({"x": GOOD, "tokens": [[1, 2, 3, 4], [1, 2]]}, [X, TOKENS])


@pytest.mark.parametrize(("name", "values"), [("text", [["a", "b"], ["c"]]), ("other", [[1, 2], [3]])])
def test_rows_of_different_lengths_are_refused_whatever_takes_them(name: str, values: Any) -> None:
    """An array of lists would fit a string input of one dimension."""
    spec = TensorSpec("text", "string", (None,))
    with pytest.raises(SamplesError, match=f"^input '{name}': its rows have different lengths"):
        read_inputs({name: values}, Signature("s", (spec,), (spec,)))


def test_integers_beyond_the_dtype_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", tokens=np.full((2, 4), 2**40))
    with pytest.raises(SamplesError, match="integers outside int32"):
        load_samples(path, [TOKENS])


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_damaged_files_are_said_to_be(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(SamplesError, match="not a readable numpy file"):
        load_samples(path, [X])


def test_a_missing_file_is_the_arguments_fault(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="do not exist"):
        load_samples(tmp_path / "nope.npz", [X])
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(SamplesError, match=r"\.npz, an \.npy or a directory"):
        load_samples(tmp_path / "a.csv", [X])


def test_synthetic_samples_fit_and_repeat() -> None:
    specs = [X, TOKENS, TensorSpec("s", "string", (None,)), TensorSpec("h", "bfloat16", (None, None))]
    first, second = (synthetic_samples(specs, 3, seed=4, integers_below=9) for _ in range(2))
    for spec in specs:
        np.testing.assert_array_equal(first.inputs[spec.name], second.inputs[spec.name])
    assert first.inputs["h"].shape == (3, 8)
    assert first.inputs["h"].dtype.name == "bfloat16"
    assert first.inputs["tokens"].max() < 9
    assert np.any(first.inputs["x"] != synthetic_samples(specs, 3, seed=5).inputs["x"])


def test_the_content_hash_is_of_content_alone() -> None:
    arrays = {"a": GOOD, "b": np.arange(3)}
    assert content_hash(arrays) == content_hash(dict(reversed(arrays.items())))
    assert content_hash(arrays) == content_hash({**arrays, "a": np.asfortranarray(GOOD)})
    different = [{"a": GOOD}, {**arrays, "a": _with((0, 0, 0), 0)}, {**arrays, "b": np.arange(3, dtype=np.int32)}]
    assert content_hash(arrays) not in map(content_hash, different)


def test_any_flipped_byte_is_read_or_refused(tmp_path: Path) -> None:
    """numpy and zipfile raise a dozen kinds of errors on damaged files; ours is one."""
    rng = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "good.npz", x=GOOD)
    np.save(tmp_path / "good.npy", GOOD)
    refused = 0
    for suffix in ("npz", "npy"):
        good = (tmp_path / f"good.{suffix}").read_bytes()
        for _ in range(150):
            content = bytearray(good)
            content[rng.integers(min(len(content), 200))] ^= 1 << rng.integers(8)
            (tmp_path / f"bad.{suffix}").write_bytes(content)
            try:
                load_samples(tmp_path / f"bad.{suffix}", [X])
            except SamplesError:
                refused += 1
    assert refused > 50


def test_exported_names_come_before_keras_names(tmp_path: Path) -> None:
    """Inputs a and b, exported as b and a: samples named as exported are not swapped."""
    specs = [TensorSpec("b", "float32", (None,)), TensorSpec("a", "float32", (None,))]
    path = save(tmp_path / "a.npz", a=np.zeros(2, "f"), b=np.ones(2, "f"))
    assert load_samples(path, specs, {"a": "b", "b": "a"}).inputs["b"].tolist() == [1, 1]


def test_arrays_in_memory_are_samples_too() -> None:
    np.testing.assert_array_equal(load_samples(GOOD, [X]).inputs["x"], GOOD)
    assert len(load_samples({"x": GOOD, "labels": np.arange(5)}, [X])) == 5
    with pytest.raises(SamplesError, match=r"samples: 'x' has shape \[5, 4\]"):
        load_samples({"x": GOOD[..., 0]}, [X])


def test_scalars_have_no_batch() -> None:
    assert synthetic_samples([TensorSpec("x", "float32", ())], 3).inputs["x"].shape == ()


def test_a_member_that_is_not_an_array_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=GOOD)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "what this is")
    for read in (lambda: load_samples(path, [X]), lambda: _read_bytes(path.read_bytes())):
        with pytest.raises(SamplesError, match=r"member 'readme.txt' is not an array"):
            read()


def test_the_lone_array_of_an_input_that_nobody_named_may_have_any_name(tmp_path: Path) -> None:
    """Keras made its name up, and the export calls it `input`; beside labels, too."""
    unnamed = TensorSpec("input", "int32", (None, 4))
    samples = load_samples(save(tmp_path / "a.npz", tokens=np.ones((5, 4), int), labels=np.arange(5)), [unnamed])
    assert samples.inputs["input"].shape == (5, 4)
    assert samples.labels is not None
    with pytest.raises(SamplesError, match=r"the inputs are 'input' \[\?, 4\]; name one array after each"):
        load_samples(save(tmp_path / "b.npz", a=np.ones((5, 4), int), b=np.ones((5, 4), int)), [unnamed])
