"""The outputs of a prediction as a file: .npz, .json or .csv."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnexport.core.errors import ArgumentError, SamplesError

from .sizes import counted

if TYPE_CHECKING:
    from attnexport.core import Array

FORMATS = (".npz", ".json", ".csv")
_MAX_COLUMNS = 16_384  # of a .csv, as spreadsheets have them
_FORMULAS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # what a spreadsheet's formula begins with, in any script
_PLAIN = re.compile(r"[-+](\d+(\.\d*)?([eE][-+]?\d+)?|Infinity)?")  # a number, or the sign alone


def output_path(path: str | Path) -> Path:
    """Check where outputs are to be written, before they are computed.

    Raises:
        ArgumentError: if the path is of another format, a directory, or in none.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ArgumentError(f"--output '{path}' is not a FILE{', FILE'.join(FORMATS[:-1])} or FILE{FORMATS[-1]}")
    if path.is_dir():
        raise ArgumentError(f"--output '{path}' is a directory")
    if not path.parent.is_dir():
        raise ArgumentError(f"--output '{path}' is in {path.parent}, which is not a directory")
    return path


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> tuple[str, ...]:
    """Write outputs in the format that the path's suffix names, and give a note for each that had to change to fit.

    A .csv has a line for each sample, and a column for each value: `logits_0`, `logits_1`, or `scores_0_1` of more
    dimensions.

    Raises:
        SamplesError: if outputs of different numbers of samples are to be the lines of a .csv.
        StorageError: if the file cannot be written.
    """
    from attnexport.core.os_errors import writing
    from attnexport.store.files import replacing

    write = {".npz": _write_npz, ".json": _write_json, ".csv": _write_csv}[path.suffix]
    with writing(path), replacing(path) as temporary:
        return tuple(write(temporary, outputs))


def _write_rows(path: Path, titles: Sequence[str], rows: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]) -> None:
    """Write a .csv, without text that a spreadsheet would run."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(_as_text, titles))
        writer.writerows([_as_text(cell) for cell in row] for row in rows)


def _as_text(cell: Any) -> Any:
    """A cell that is text, behind an apostrophe if a spreadsheet would take it for a formula."""
    return f"'{cell}" if _is_formula(cell) else cell


def _is_formula(cell: Any) -> bool:
    if not isinstance(cell, str) or not cell.startswith(_FORMULAS):
        return False
    return not _PLAIN.fullmatch(cell)


def _write_npz(path: Path, outputs: Mapping[str, Array]) -> list[str]:
    import numpy as np

    from attnexport.core.mapped import write_npz

    notes, arrays = [], {}
    for name, array in outputs.items():
        arrays[name] = array
        if array.dtype == object:
            if any(item.endswith(b"\0") for item in array.reshape(-1).tolist()):
                notes.append(f"{name!r} holds strings that end in NUL bytes, which numpy cuts off")
            arrays[name] = array.astype(np.bytes_)
        elif array.dtype.kind == "V":  # a dtype of ml_dtypes, which other readers of .npz do not know
            notes.append(f"{name!r} was written as float32, from {array.dtype.name}")
            arrays[name] = array.astype(np.float32)
    write_npz(path, arrays)
    return notes


def _write_json(path: Path, outputs: Mapping[str, Array]) -> list[str]:
    from .predict_inputs import json_values

    document = {"outputs": {name: json_values(array) for name, array in outputs.items()}}
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return []


def _write_csv(path: Path, outputs: Mapping[str, Array]) -> list[str]:
    import numpy as np

    from .predict_inputs import json_values

    counts = {name: len(array) if array.ndim else None for name, array in outputs.items()}
    if None in counts.values() or len(set(counts.values())) > 1:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
        raise SamplesError(f"a .csv has one line a sample, and the outputs are {shapes}; write them to a .npz or .json")
    titles: list[str] = []
    columns: list[list[Any]] = []
    for name, array in outputs.items():
        flat = np.asarray(array).reshape(len(array), -1)
        if len(titles) + flat.shape[1] > _MAX_COLUMNS:
            raise SamplesError(f"output {name!r} has {flat.shape[1]:,} values a sample; write it to a .npz or .json")
        places = np.ndindex(*array.shape[1:]) if array.ndim > 1 else [()]
        titles += ["_".join(map(str, (name, *place))) for place in places]
        columns += [json_values(column) for column in flat.T]
    _write_rows(path, titles, list(zip(*columns, strict=True)))
    formulas = sum(map(_is_formula, itertools.chain(titles, *columns)))
    if not formulas:
        return []
    begin, them = ("begins as a formula does", "it") if formulas == 1 else ("begin as formulas do", "them")
    return [
        f"{counted(formulas, 'cell')} {begin}; an apostrophe stands before {them}, or a spreadsheet would run {them}"
    ]
