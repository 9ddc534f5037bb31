"""Counts of several processes in one folder."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict, mmap_key

from attnexport.serving.server.metrics import PREFIX, Metrics


def test_a_file_that_a_process_has_just_made_is_not_read_yet(tmp_path: Path) -> None:
    labels = {"model_name": "m", "status": "OK"}
    name = f"{PREFIX}request_count"
    for number in (1, 2):
        counts = MmapedDict(str(tmp_path / f"counter_{number}.db"))
        counts.write_value(mmap_key(name, f"{name}_total", *zip(*labels.items(), strict=True), "Requests."), 2.0, 0.0)
        counts.close()
    (tmp_path / "counter_3.db").touch()
    MmapedDict(str(tmp_path / "histogram_3.db")).close()
    lines = Metrics(str(tmp_path)).exposition().decode().splitlines()
    assert f'{name}{{model_name="m",status="OK"}} 4.0' in lines
