"""Packed weights on disk: used where they are right, made again where they are not, and never needed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attnexport.tflite import CompiledModelRunner, TFLiteRunner, compiled_model, open_tflite, weight_cache


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the caches, with caches for small files, too."""
    monkeypatch.setattr(compiled_model, "_LARGE_BYTES", 0)
    monkeypatch.setenv(weight_cache.VARIABLE, str(tmp_path / "caches"))
    return tmp_path / "caches"


@pytest.fixture
def answer(conversions: dict[str, Any], samples: Any) -> Callable[[Path], tuple[type, Any]]:
    """What opens a file, and what it computes."""

    def run(path: Path) -> tuple[type, Any]:
        with closing(open_tflite(path)) as runner:
            return type(runner), runner.run({"sequence": samples[:1]})["logits"]

    return run


def test_a_cache_is_made_once_and_computes_the_same(
    caches: Path, answer: Any, written: Any, conversions: dict[str, Any], samples: Any
) -> None:
    path = written(conversions["float32"].content)
    expected = TFLiteRunner(path).run({"sequence": samples[:1]})["logits"]
    kind, first = answer(path)
    [file] = caches.glob("*.xnnpack")
    made = file.stat().st_mtime_ns
    _, second = answer(path)
    assert kind is CompiledModelRunner
    np.testing.assert_allclose(first, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(first, second)
    assert [each.stat().st_mtime_ns for each in caches.glob("*.xnnpack")] == [made]
    assert caches.stat().st_mode & 0o077 == 0
    assert sorted(each.suffix for each in caches.iterdir()) == [".stamp", ".xnnpack"]


def test_a_damaged_cache_is_made_again(caches: Path, answer: Any, written: Any, conversions: dict[str, Any]) -> None:
    """XNNPACK itself takes other weights in it for those of the model."""
    path = written(conversions["float32"].content)
    _, expected = answer(path)
    [file] = caches.glob("*.xnnpack")
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], bytes(each ^ 0x55 for each in whole), b""):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(answer(path)[1], expected)
        assert file.read_bytes() == whole
    next(caches.glob("*.stamp")).unlink()
    np.testing.assert_array_equal(answer(path)[1], expected)


def test_it_may_be_deleted_at_any_time(
    caches: Path, written: Any, conversions: dict[str, Any], samples: Any, answer: Any
) -> None:
    path = written(conversions["float32"].content)
    with closing(open_tflite(path)) as runner:
        before = runner.run({"sequence": samples[:1]})["logits"]
        for each in caches.iterdir():
            each.unlink()
        caches.rmdir()
        np.testing.assert_array_equal(runner.run({"sequence": samples[:1]})["logits"], before)
    np.testing.assert_array_equal(answer(path)[1], before)


def test_each_model_has_its_own(caches: Path, answer: Any, tmp_path: Path, conversions: dict[str, Any]) -> None:
    for name in ("float32", "dynamic"):
        path = tmp_path / "model.tflite"  # under the same name
        path.write_bytes(conversions[name].content)
        answer(path)
    assert len(list(caches.glob("*.xnnpack"))) == 2


def test_without_a_place_for_it_the_interpreter_runs_the_file(
    caches: Path, answer: Any, written: Any, conversions: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(conversions["float32"].content)
    caches.write_text("a file in the way")
    assert answer(path)[0] is TFLiteRunner
    monkeypatch.setenv(weight_cache.VARIABLE, "")
    assert answer(path)[0] is TFLiteRunner


def test_those_not_used_for_longest_make_room(
    caches: Path, answer: Any, tmp_path: Path, conversions: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {}
    for number, name in enumerate(("float32", "float16", "dynamic")):
        paths[name] = tmp_path / f"{name}.tflite"
        paths[name].write_bytes(conversions[name].content)
        if name == "dynamic":
            room_for_two = sum(each.stat().st_size for each in caches.iterdir()) * 5 // 4  # the third may be larger
            monkeypatch.setattr(weight_cache, "_MOST_BYTES", room_for_two)
        answer(paths[name])
        if number == 0:
            kept = {each.name for each in caches.iterdir()}
        else:
            answer(paths["float32"])  # which is used more often
    assert kept <= {each.name for each in caches.iterdir()}
    assert len(list(caches.glob("*.xnnpack"))) == 2
