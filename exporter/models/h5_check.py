"""What an HDF5 file of unknown origin may hold: its own datasets, of about the bytes that it has."""

from __future__ import annotations

import math
from typing import Any

from attnexport.core.errors import ModelError
from attnexport.core.reading import MAX_RATIO

_MAX_OBJECTS = 1_000_000


def check_h5(file: Any, size: int) -> None:
    """Refuse a file that would read other files, or fill memory with values that it does not hold.

    Args:
        file: The open `h5py.File`.
        size: Its size in bytes.

    Raises:
        ModelError: naming the link or the dataset.
    """
    import h5py

    pending, objects, declared = [file["/"]], 0, 0
    seen: set[int] = set()  # groups may be linked in a circle
    while pending:
        group = pending.pop()
        for name in group:
            objects += 1
            if objects > _MAX_OBJECTS:
                raise ModelError(f"{file.filename} holds more than {_MAX_OBJECTS:,} objects")
            place = f"{file.filename}: {group.name}/{name}".replace("//", "/")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ModelError(f"{place} is a link, which is not followed")
            each = group[name]
            address = h5py.h5o.get_info(each.id).addr
            if isinstance(each, h5py.Group) and address not in seen:
                seen.add(address)
                pending.append(each)
            if isinstance(each, h5py.Dataset):
                if each.external or each.is_virtual:
                    raise ModelError(f"{place} has its values in another file, which is not read")
                declared += math.prod(each.shape or ()) * each.dtype.itemsize
    if declared > max(1 << 30, MAX_RATIO * size):
        raise ModelError(f"{file.filename} has {size:,} bytes and says to hold {declared:,}; it is not loaded")
