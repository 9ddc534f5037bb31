"""Counts of several processes in one folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from attnexport.serving.server.metrics import PREFIX, Metrics

_LINE = f'{PREFIX}request_count{{model_name="m",status="OK"}} '


def _count(file: Path, requests: float) -> None:
    labels, name = {"model_name": "m", "status": "OK"}, f"{PREFIX}request_count"
    counts = MmapedDict(str(file))
    counts.write_value(mmap_key(name, f"{name}_total", *zip(*labels.items(), strict=True), "Requests."), requests, 0.0)
    counts.close()


def test_a_file_that_a_process_has_just_made_is_not_read_yet(tmp_path: Path) -> None:
    for number in (1, 2):
        _count(tmp_path / f"counter_{number}.db", 2.0)
    (tmp_path / "counter_3.db").touch()
    MmapedDict(str(tmp_path / "histogram_3.db")).close()
    lines = Metrics(str(tmp_path)).exposition().decode().splitlines()
    assert _LINE + "4.0" in lines


@pytest.mark.parametrize("method", ["stat", "open"])
def test_files_that_are_removed_while_they_are_read_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    first, second = tmp_path / "counter_1.db", tmp_path / "counter_2.db"
    for file in (first, second):
        _count(file, 2.0)
    if method == "stat":
        stat = Path.stat

        def remove_first(path: Path, **options: bool) -> os.stat_result:
            if path == first:
                first.unlink(missing_ok=True)
            return stat(path, **options)

        monkeypatch.setattr(Path, "stat", remove_first)
    else:
        read = MmapedDict.read_all_values_from_file

        def remove_then_read(path: str) -> object:
            first.unlink(missing_ok=True)
            return read(path)

        monkeypatch.setattr(MmapedDict, "read_all_values_from_file", staticmethod(remove_then_read))
    assert _LINE + "2.0" in Metrics(str(tmp_path)).exposition().decode().splitlines()
