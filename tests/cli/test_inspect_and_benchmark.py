"""`attnexport inspect` and `attnexport benchmark` on every kind of artifact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def export(attnexport: Run) -> Path:
    """The default classifier with two .tflite files."""
    assert attnexport("tflite", "-q", "int8", "-q", "float16")[0] == 0
    return Path("export/classifier")


def test_inspect_tells_each_kind(attnexport: Run, export: Path) -> None:
    for path, told in (
        (
            export / "tflite/1/classifier.int8.tflite",
            ["serving_default(sequence", "in 1 partition, leaves none"],
        ),
        (export / "saved_model/1", ["serving_default(sequence", "float32 71 kB", "6 records"]),
        (export / "keras/1.keras", ["AttentionConcatLayer 1", "Dense 2", "float32 71 kB"]),
        (export, ["version 1", "saved_model/1", "classifier.float16.tflite", "preset classifier"]),
    ):
        code, out, err = attnexport("inspect", path)
        assert (code, err) == (0, "")
        for words in told:
            assert words in out, (path, words)
        code, out, _ = attnexport("inspect", path, "--json")
        assert (code, json.loads(out)["path"]) == (0, str(path))


def test_inspect_says_what_is_gone(attnexport: Run, export: Path) -> None:
    (export / "tflite/1/classifier.int8.tflite").unlink()
    assert "classifier.int8.tflite (22 kB), GONE" in attnexport("inspect", export)[1]


@pytest.mark.parametrize("command", ["inspect", "benchmark"])
def test_what_is_no_artifact(command: str, attnexport: Run, tmp_path: Path, exported_classifier: Any) -> None:
    (tmp_path / "text.txt").write_text("words")
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\0\0\0TFL3 and then nothing")
    (tmp_path / "empty").mkdir()
    for path, code, told in (
        ("nowhere", 2, "nowhere does not exist"),
        ("text.txt", 3, "text.txt is no .tflite, .keras, SavedModel or export"),
        ("broken.tflite", 3, ".tflite"),
        ("empty", 3, "is neither an export"),
        (str(exported_classifier.path.parent), 2, "is a base path of SavedModel versions; name one, such as"),
    ):
        found, out, err = attnexport(command, path)
        assert (found, out) == (code, ""), path
        assert told in err
        assert len(err.splitlines()) == 1


def test_benchmark_puts_artifacts_side_by_side(attnexport: Run, export: Path) -> None:
    code, out, err = attnexport("benchmark", export, "--rounds", "3", "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)["artifacts"]
    assert [row["kind"] for row in rows] == ["keras", "saved_model", "tflite", "tflite"]
    for row in rows:
        latency = row["latency"]
        assert 0 < latency["p50_ms"] <= latency["p90_ms"] <= latency["p99_ms"]
        assert latency["calls"] == 3
        assert row["size_bytes"] > 10_000
    # A process with TensorFlow in it, and one without.
    assert rows[1]["peak_memory_bytes"] > 3 * rows[2]["peak_memory_bytes"] > 30_000_000
    code, out, _ = attnexport("benchmark", *(row["artifact"] for row in rows[2:]), "--rounds", "3", "--threads", "2")
    assert (code, "3 calls each, interleaved" in out) == (0, True)
