"""The outputs of a prediction as an .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attnexport.core.mapped import write_npz
from attnexport.core.os_errors import writing
from attnexport.store.files import replacing

if TYPE_CHECKING:
    from attnexport.serving import Prediction


def write_outputs(path: Path, prediction: Prediction) -> tuple[str, ...]:
    """Write the outputs as an .npz, and give a note for each that had to change to fit.

    Raises:
        StorageError: if the file cannot be written.
    """
    notes, arrays = [], {}
    for name, array in prediction.items():
        arrays[name] = array
        if array.dtype == object:
            if any(item.endswith(b"\0") for item in array.reshape(-1).tolist()):
                notes.append(f"{name!r} holds strings that end in NUL bytes, which numpy cuts off")
            arrays[name] = array.astype(np.bytes_)
        elif array.dtype.kind == "V":  # a dtype of ml_dtypes, which other readers of .npz do not know
            notes.append(f"{name!r} was written as float32, from {array.dtype.name}")
            arrays[name] = array.astype(np.float32)
    with writing(path), replacing(path) as temporary:
        write_npz(temporary, arrays)
    return tuple(notes)
