"""An HDF5 file from elsewhere reads no other files, and fills no memory with what it does not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from attnexport.core import ModelError
from attnexport.exporter.models.h5_check import check_h5


def other_file(file: Any) -> None:
    with h5py.File(str(file.filename) + ".other", "w") as other:
        other["w"] = np.zeros(3)


def external_link(file: Any) -> None:
    file["w"] = h5py.ExternalLink(str(file.filename) + ".other", "/w")


def soft_link(file: Any) -> None:
    file["w"] = h5py.SoftLink("/elsewhere")


def external_values(file: Any) -> None:
    file.create_dataset("w", (8,), "u1", external=[("/etc/passwd", 0, 8)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(file.filename) + ".other", "w", (3,))
    file.create_virtual_dataset("w", layout)


def petabytes(file: Any) -> None:
    file.create_dataset("w", (1 << 50,), "f4", chunks=(1 << 20,))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (external_link, "h5: /w is a link, which is not followed"),
        (soft_link, "is a link"),
        (external_values, "has its values in another file"),
        (virtual, "has its values in another file"),
        (petabytes, "says to hold 4,503,599,627,370,496; it is not loaded"),
    ],
)
def test_what_is_elsewhere_or_nowhere_is_refused(make: Callable[[Any], None], words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        other_file(file)
        make(file.create_group("a") if make is petabytes else file)
    with h5py.File(path, "r") as file, pytest.raises(ModelError, match=words):
        check_h5(file, path.stat().st_size)


def test_values_of_its_own_pass_also_in_a_circle_of_groups(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["a/w"] = np.zeros((4, 4))
        file["a/again"] = file["a"]
        check_h5(file, 1000)
