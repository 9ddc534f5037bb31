"""What is at a path, told without loading it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attnexport.core import ArgumentError, ModelError
from attnexport.store.kinds import kind_of, saved_models_below


def make(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_each_kind_is_told_by_its_name_or_content(tmp_path: Path) -> None:
    assert kind_of(make(tmp_path / "m.keras")) == "keras"
    assert kind_of(make(tmp_path / "m.tflite")) == "tflite"
    assert kind_of(make(tmp_path / "downloaded", b"\x1c\0\0\0TFL3")) == "tflite"
    assert kind_of(make(tmp_path / "s" / "saved_model.pb").parent) == "saved_model"
    assert kind_of(make(tmp_path / "text" / "saved_model.pbtxt").parent) == "saved_model"
    make(tmp_path / "e" / "saved_model.pb")
    assert kind_of(make(tmp_path / "e" / "attnexport.json").parent) == "export"


def test_a_base_path_names_its_newest_version(tmp_path: Path) -> None:
    for version in ("9", "10", "10.bak", "²"):
        make(tmp_path / version / "saved_model.pb")
    make(tmp_path / "11" / "other.txt")
    assert list(saved_models_below(tmp_path)) == [9, 10]
    with pytest.raises(ArgumentError, match=r"base path of SavedModel versions; name one, such as .*/10$"):
        kind_of(tmp_path)


@pytest.mark.parametrize("name", ["empty", "a.txt", "fifo", "dangling", "/dev/zero"])
def test_anything_else_is_refused_without_being_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    make(tmp_path / "a.txt", b"text")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    error, words = (ArgumentError, "does not exist") if name == "dangling" else (ModelError, "is n")
    with pytest.raises(error, match=words):
        kind_of(tmp_path / name)
