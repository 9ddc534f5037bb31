"""Arrays that are too large for memory: mapped from their file, or from a temporary one."""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import ContentError, StorageError
from .os_errors import writing
from .reading import check_unpacked_size
from .signature import Array

LARGE = 1 << 25  # bytes; smaller arrays are read into memory
MAX_IN_MEMORY = 1 << 28  # bytes of small arrays; further ones are mapped, too
MAX_ARRAYS = 1024  # in an .npz
_PIECE = 1 << 22  # bytes in memory at a time
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip's member: the lengths of its name and of its extra field
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: Path) -> dict[str, Array]:
    """Read the arrays of an .npz by name, mapping the large ones.

    Raises:
        ContentError: if it would unpack to far more than it is.
        StorageError: if there is no space to unpack a compressed array.
        Exception: of many kinds, from numpy and zipfile, if the file is damaged or holds Python objects.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        members = {info.filename: info for info in archive.zip.infolist()}
        if len(members) > MAX_ARRAYS:
            raise ValueError(f"it holds {len(members)} arrays; at most {MAX_ARRAYS} are read")
        _check_size(archive.zip, path)
        arrays, in_memory = {}, 0
        for name in archive.files:
            info = members.get(f"{name}.npy")
            size = info.file_size if info is not None else 0
            is_large = size >= LARGE or in_memory + size > MAX_IN_MEMORY
            in_memory += 0 if is_large else size
            arrays[name] = _map_member(path, archive.zip, info) if info and is_large else array_of(archive, name)
        return arrays


def array_of(archive: Mapping[str, Any], name: str) -> Array:
    """An array of an open .npz; numpy returns other members as bytes.

    Raises:
        ValueError: if the member is not an array.
    """
    array = archive[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"its member {name!r} is not an array")
    return array


def write_npz(file: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as an .npz under any names; those of `numpy.savez`'s own arguments would be forbidden there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     write_npz(Path(name) / "a.npz", {"file": np.ones(2)})
        ...     read_npz(Path(name) / "a.npz")
        {'file': array([1., 1.])}
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def row_pieces(array: Array) -> Iterator[Array]:
    """The rows of an array `[n, ...]`, in pieces of a few MB; a scalar is one row."""
    array = np.atleast_1d(array)
    step = max(1, _PIECE * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array), step):
        yield array[start : start + step]


def cast(array: Array, dtype: Any) -> Array:
    """The array in another dtype, kept on disk if it is large."""
    if array.nbytes < LARGE:
        return array.astype(dtype)
    with _temporary_file() as file:
        for piece in row_pieces(array):
            with writing(Path(tempfile.gettempdir())):
                file.write(piece.astype(dtype).tobytes())
        return _map(file, np.dtype(dtype), array.shape)


def _map_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """Map a member of an .npz: in place if it is not compressed, else unpacked into a temporary file.

    It is read to its end in both cases, since that is when zipfile checks its sum.
    """
    is_stored = info.compress_type == zipfile.ZIP_STORED
    if not is_stored:
        _check_space(info)
    with archive.open(info) as member, _temporary_file() as unpacked:
        version = np.lib.format.read_magic(member)
        if version not in _HEADERS:
            raise ValueError(f".npy version {version} is not read")
        shape, in_fortran_order, dtype = _HEADERS[version](member)
        if dtype.hasobject:
            raise ValueError("Python objects would need pickle")
        start = member.tell()
        if info.file_size - start != dtype.itemsize * int(np.prod(shape, dtype=object)):
            raise ValueError(f"{info.filename} does not hold as many values as it says")
        while piece := member.read(_PIECE):
            if not is_stored:
                with writing(Path(tempfile.gettempdir())):
                    unpacked.write(piece)
        if is_stored:
            return _map(path, dtype, shape, _data_offset(path, info) + start, in_fortran_order)
        return _map(unpacked, dtype, shape, 0, in_fortran_order)


def _check_size(archive: zipfile.ZipFile, path: Path) -> None:
    try:
        check_unpacked_size(archive, path.stat().st_size, str(path))
    except ContentError as error:
        raise ContentError(f"{error}; save such arrays with numpy.savez, which does not compress") from error


def _check_space(info: zipfile.ZipInfo) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if info.file_size > free:
        raise StorageError(
            f"{info.filename} would unpack to {info.file_size:,} bytes, and {folder} has {free:,}; save it with "
            "numpy.savez, which does not compress, or set TMPDIR to a larger disk"
        )


def _map(
    file: Path | IO[bytes],
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    offset: int = 0,
    in_fortran_order: bool = False,
) -> Array:
    """Map a file's content; a temporary file lives as long as the array."""
    if not isinstance(file, Path):
        with writing(Path(tempfile.gettempdir())):
            file.flush()
    return np.memmap(file, dtype, "r", offset, shape, "F" if in_fortran_order else "C")


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return info.header_offset + _LOCAL_HEADER.size + int(name) + int(extra)


def _temporary_file() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="attnexport-")
