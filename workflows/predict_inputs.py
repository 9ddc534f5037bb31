"""The samples of a prediction: files, bytes and JSON to arrays, and arrays to JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attnexport.core import Arrays, Signature, TensorSpec, load_samples
from attnexport.core.errors import ArgumentError, AttnexportError, ContentError, SamplesError, first_line
from attnexport.core.exact import exact_array, regular_array
from attnexport.core.limits import MAX_JSON_SAMPLES
from attnexport.core.mapped import array_of
from attnexport.core.reading import ARRAY_MAGIC, check_unpacked_size, read_stream
from attnexport.serving.codec.dtypes import numpy_dtype

Source = Path | bytes | Mapping[str, Any] | Sequence[Any] | np.ndarray[Any, Any]
_WHOLE_BODIES = ("inputs", "instances")  # of a REST request


def open_source(samples: str | Source) -> Source:
    """A path for the loader of samples, or the values themselves.

    Args:
        samples: A path, the bytes of a file, or values.

    Raises:
        ArgumentError: if the file does not exist.
        SamplesError: if it cannot be read.
    """
    if isinstance(samples, bytes):
        return _read_bytes(samples)
    if not isinstance(samples, str | Path):
        return samples
    path = Path(samples)
    if not path.exists():
        raise ArgumentError(f"samples {path} do not exist")
    if path.suffix != ".json":
        return path
    return _json(read_file(path, MAX_JSON_SAMPLES, "save such samples as .npz or .npy"), str(path))


def read_inputs(source: Source, signature: Signature) -> tuple[Arrays, tuple[str, ...]]:
    """Arrays by input name that fit the signature, and notes on what was done to them.

    Raises:
        SamplesError: if names, dtypes or shapes do not fit.
    """
    if not isinstance(source, Path | np.ndarray):
        source = _columns(source, signature)
    samples = load_samples(source, signature.inputs, same_count=False)
    return samples.inputs, samples.notes


def json_values(array: np.ndarray[Any, Any]) -> Any:
    """An array as JSON: nested lists; NaN and infinities as words, bytes as text or `{"b64": …}`."""
    if array.dtype == object:
        return _map_values(array.tolist(), _text)
    if array.dtype.kind == "c":
        return _map_values(array.tolist(), lambda value: [_number(value.real), _number(value.imag)])
    if array.dtype.kind in "fV":
        wide = array.astype(np.float64) if array.dtype.kind == "V" else array
        return wide.tolist() if np.isfinite(wide).all() else _map_values(wide.tolist(), _number)
    return array.tolist()


def _map_values(value: Any, change: Any) -> Any:
    return [_map_values(each, change) for each in value] if isinstance(value, list) else change(value)


def _number(value: float) -> float | str:
    if value != value:  # noqa: PLR0124 - NaN alone
        return "NaN"
    return value if abs(value) != float("inf") else ("Infinity" if value > 0 else "-Infinity")


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _read_bytes(data: bytes) -> Source:
    """The values in bytes from standard input; the first bytes show the format."""
    if data.startswith(ARRAY_MAGIC):
        try:
            loaded = np.load(io.BytesIO(data), allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile) and loaded.zip is not None:
                check_unpacked_size(loaded.zip, len(data), "stdin")
            if isinstance(loaded, np.ndarray):
                return loaded
            return {name: array_of(loaded, name) for name in loaded}
        except ContentError as error:
            raise SamplesError(str(error)) from error
        except Exception as error:  # numpy and zipfile raise whatever their parts raise
            raise SamplesError(f"stdin is not a readable numpy file: {first_line(error)}") from error
    return _json(data, "stdin")


def _json(data: bytes, place: str) -> Source:
    value = parse_json(data, place, "not JSON (nor .npz or .npy)")
    if not isinstance(value, list | dict):
        raise SamplesError(f"{place}: a list, or an object with one list per input, is expected")
    return value


def read_file(path: Path, limit: int, advice: str) -> bytes:
    """The bytes of samples in a file or a pipe: a device never ends.

    Args:
        path: The file.
        limit: The most bytes that are read.
        advice: What to do with larger samples.

    Raises:
        SamplesError: if it has more, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return read_stream(file, limit, str(path))
    except OSError as error:
        raise SamplesError(f"samples {path} cannot be read: {error.strerror}") from error
    except ContentError as error:
        raise SamplesError(f"{error}; {advice}") from error


def parse_json(data: bytes, place: str, problem: str = "not JSON") -> Any:
    """The value of a JSON text.

    Args:
        data: The text, in UTF-8.
        place: Where it comes from.
        problem: What it is if it cannot be read.

    Raises:
        SamplesError: if it cannot be read.
    """
    try:
        return json.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise SamplesError(f"{place}: {problem}: it is nested too deeply") from error
    except ValueError as error:
        is_long = "integer string conversion" in str(error)  # of which Python tells how to allow it
        text = "a number in it has thousands of digits" if is_long else first_line(error)
        raise SamplesError(f"{place}: {problem}: {text}") from error


def _columns(value: Any, signature: Signature) -> dict[str, Any] | np.ndarray[Any, Any]:
    """Arrays by input name from JSON by column, by row, or a whole REST body."""
    names = {spec.name: spec for spec in signature.inputs}
    if isinstance(value, dict) and len(value.keys() - {"signature_name"}) == 1 and not value.keys() & names.keys():
        value = next((value[key] for key in _WHOLE_BODIES if key in value), value)
    if isinstance(value, list) and value and all(isinstance(row, dict) and row.keys() == names.keys() for row in value):
        value = {name: [row[name] for row in value] for name in names}
    if isinstance(value, dict):
        return {name: _array(name, each, names.get(name)) for name, each in value.items()}
    lone = signature.inputs[0] if len(signature.inputs) == 1 else None
    return _array(lone.name if lone else "", value, lone)


def _array(name: str, value: Any, spec: TensorSpec | None) -> np.ndarray[Any, Any]:
    """JSON has one kind of number and no dtypes: it takes the input's, which must hold all its whole numbers."""
    try:
        if spec is not None and spec.dtype == "string":
            return regular_array(_map_values(value, _bytes), object)
        if spec is None:
            return regular_array(value)
        return exact_array(value, numpy_dtype(spec.dtype))
    except AttnexportError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise SamplesError(f"input {name!r}: {first_line(error)}") from error


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except ValueError as error:
            raise SamplesError(f"{value['b64'][:40]!r} is not base64") from error
    raise SamplesError(f'a string input holds {value!r:.40}; text or {{"b64": …}} is expected')
