"""Files that are written at once: whole or not at all, whoever else writes, and whatever stands in the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attnexport.store.files import replacing, write_atomically


def test_two_writers_of_one_file_do_not_share_a_place(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with replacing(path) as first:
        first.write_text("first, long")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first, long"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_rights_that_any_new_file_has(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("")
    write_atomically(tmp_path / "x", "")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "new").stat().st_mode


@pytest.mark.parametrize("what", ["link", "hard link", "pipe", "folder"])
def test_nothing_that_stands_there_is_written_to(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_text("mine")
    tokens = ["00000000", "00000001"]
    taken = tmp_path / ".tmp-00000000-x"
    {
        "link": lambda: taken.symlink_to("mine"),
        "hard link": lambda: taken.hardlink_to(tmp_path / "mine"),
        "pipe": lambda: os.mkfifo(taken),
        "folder": taken.mkdir,
    }[what]()
    monkeypatch.setattr("secrets.token_hex", lambda size: tokens.pop(0))
    write_atomically(tmp_path / "x", "new")
    assert ((tmp_path / "mine").read_text(), (tmp_path / "x").read_text()) == ("mine", "new")
    assert os.path.lexists(taken)


def test_what_a_killed_writer_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    name = "[a]*" + "x" * 200
    for token, age in (("00000000", 601), ("00000001", 0)):
        left = tmp_path / f".tmp-{token}-{name[-32:]}"
        left.write_text("half")
        moment = left.stat().st_mtime - age
        os.utime(left, (moment, moment))
    write_atomically(tmp_path / name, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".tmp-00000001-{name[-32:]}", name]
