"""Files of unknown origin: bounded before they are read."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from attnexport.core import AttnexportError, ContentError, SamplesError, TensorSpec, load_samples, mapped
from attnexport.core.reading import check_unpacked_size, is_regular, read_bytes
from attnexport.core.samples import read_arrays

X = TensorSpec("x", "float32", (None, 4))


def test_a_regular_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1234")
    assert read_bytes(path, 4) == b"1234"
    with pytest.raises(ContentError, match="larger than the 3 bytes"):
        read_bytes(path, 3)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_anything_else_is_not_read(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    make(tmp_path / "a")
    assert not is_regular(tmp_path / "a")
    with pytest.raises(ContentError, match=r"not a regular file|a directory"):
        read_bytes(tmp_path / "a", 4)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "folder/x.npy"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_samples_are_regular_files(tmp_path: Path, name: str, make: Callable[[Path], Any]) -> None:
    (tmp_path / "folder").mkdir()
    make(tmp_path / name)
    with pytest.raises(SamplesError, match="is not a regular file"):
        load_samples(tmp_path / name if "/" not in name else tmp_path / "folder", [X])


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    """An array that says it has this shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


@pytest.mark.parametrize("shape", [(10**14, 4), (2**62, 4), (10**9, 4)])
def test_an_array_that_claims_petabytes_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    (tmp_path / "x.npy").write_bytes(npy(shape, b"1234"))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy(shape, b"1234"))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(SamplesError, match="not a readable numpy file"):
            load_samples(tmp_path / name, [X])


def test_a_member_that_claims_petabytes_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as file,
    ):
        file.write(npy((1, 4), bytes(16)))
    content = path.read_bytes()
    size = struct.pack("<I", len(npy((1, 4), bytes(16))))
    start = content.index(b"PK\x01\x02")
    where = content.index(size, start + 24)
    path.write_bytes(content[:where] + struct.pack("<I", 0xFFFF_FFFE) + content[where + 4 :])
    with pytest.raises(AttnexportError, match=r"x\.npz|would unpack to"):
        load_samples(path, [X])


def test_samples_that_unpack_to_far_more_than_they_are_are_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1 << 20,), np.float32))
    assert len(read_arrays(tmp_path / "x.npz")["x"]) == 1 << 20
    monkeypatch.setattr("attnexport.core.reading._UNASKED", 1 << 20)
    with pytest.raises(ContentError, match=r"would unpack to 4,194,432; it is not unpacked; save .* numpy\.savez"):
        read_arrays(tmp_path / "x.npz")


def test_what_does_not_fit_on_the_disk_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1 << 21, 4), np.float32))
    monkeypatch.setattr(mapped.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1 << 20}))
    with pytest.raises(ContentError, match=r"would unpack to 33,554,560 bytes.*has 1,048,576; save it with"):
        load_samples(tmp_path / "x.npz", [X])


def test_many_small_arrays_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "MAX_IN_MEMORY", 1000)
    np.savez(tmp_path / "a.npz", **{f"a{at}": np.zeros(100, np.float32) for at in range(5)})  # type: ignore[arg-type]
    arrays = mapped.read_npz(tmp_path / "a.npz")
    assert [isinstance(each, np.memmap) for each in arrays.values()] == [False, True, True, True, True]
    monkeypatch.setattr(mapped, "MAX_ARRAYS", 4)
    with pytest.raises(ValueError, match="holds 5 arrays; at most 4 are read"):
        mapped.read_npz(tmp_path / "a.npz")


def test_a_zip_bomb_is_refused_by_what_it_says() -> None:
    info = zipfile.ZipInfo("config.json")
    archive: Any = SimpleNamespace(infolist=lambda: [info])
    info.file_size = 1 << 40
    with pytest.raises(ContentError, match=r"m\.keras has 1,000 bytes and would unpack to 1,099,511,627,776"):
        check_unpacked_size(archive, 1000, "m.keras")
    info.file_size = 1 << 29
    check_unpacked_size(archive, 1000, "m.keras")
