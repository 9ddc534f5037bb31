"""Samples: named arrays, checked once against the signature that they are for."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .errors import ArgumentError, AttnexportError, ContentError, SamplesError, first_line
from .exact import regular_array
from .limits import check_memory
from .mapped import cast, read_npz, row_pieces
from .reading import check_filled, is_regular
from .signature import Array, Arrays, Shape, TensorSpec, dtype_name, fits, format_shape

LABELS = "labels"
# Names that Keras makes for inputs, numbered through the process, and what an export calls such inputs.
GENERATED_NAME = re.compile(r"(keras_tensor|input_layer)(_\d{1,18})?")
_RENAMED = re.compile(r"input(_\d{1,18})?")
_MADE_AS = 8  # bytes of each made-up value before it is cast
# What samples are read from: a path, the arrays `[n, ...]` by input name, or the lone array of a single input.
SampleSource: TypeAlias = "str | Path | Mapping[str, Any] | Array"


@dataclass(frozen=True)
class Samples:
    """Samples for a signature.

    Attributes:
        inputs: Arrays `[n, ...]` by exported input name.
        labels: The right classes `[n]`, None if they are not known.
        notes: What was changed in the data, a sentence each.
    """

    inputs: Arrays
    labels: Array | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, n: int) -> Samples:
        """The first `n` samples."""
        labels = None if self.labels is None else self.labels[:n]
        return Samples({name: array[:n] for name, array in self.inputs.items()}, labels, self.notes)


def load_samples(
    source: SampleSource,
    specs: Sequence[TensorSpec],
    aliases: Mapping[str, str] | None = None,
    *,
    same_count: bool = True,
) -> Samples:
    """Read samples and check them against the inputs that they are for.

    Args:
        source: An `.npz` with one array `[n, ...]` per input and optionally `labels [n]`; an `.npy` for a single
            input; a directory of `NAME.npy`; or the arrays themselves. Large arrays stay on disk.
        specs: The inputs to be fed, as exported.
        aliases: The exported name by other names that an input may have, such as its Keras name.
        same_count: Whether all arrays must hold the same number of samples.

    Raises:
        ArgumentError: if the path does not exist.
        SamplesError: if the file is damaged, or its names, dtypes, shapes or values do not fit.

    Example:
        >>> samples = load_samples({"x": [[1.0, 2.0], [3.0, 4.0]]}, [TensorSpec("x", "float32", (None, 2))])
        >>> len(samples), samples.notes
        (2, ("samples: 'x' was cast from float64 to float32",))
    """
    path, arrays = _open(source)
    labels = None if any(spec.name == LABELS for spec in specs) else arrays.pop(LABELS, None)
    inputs = _match_names(path, arrays, specs, aliases or {})
    notes: list[str] = []
    for spec in specs:
        inputs[spec.name] = _cast(path, inputs[spec.name], spec, notes)
        _check(path, inputs[spec.name], spec)
    _spread_scalars(inputs, specs)
    counts = {name: len(array) for name, array in inputs.items() if array.ndim}
    if labels is not None:
        if labels.ndim != 1:
            raise SamplesError(
                f"{path}: 'labels' has shape {format_shape(labels.shape)}; [?] is expected, one a sample"
            )
        counts[LABELS] = len(labels)
    if same_count and len(set(counts.values())) > 1:
        raise SamplesError(f"{path}: the arrays hold different numbers of samples: {counts}")
    return Samples(inputs, labels, tuple(notes))


def synthetic_samples(
    specs: Sequence[TensorSpec],
    n: int | None,
    *,
    seed: int = 0,
    integers_below: int | None = None,
    words: Mapping[str, Sequence[bytes]] | None = None,
    free_size: int = 8,
) -> Samples:
    """Make seeded samples that fit the inputs: standard normal floats, integers in `[0, integers_below)`.

    Args:
        specs: The inputs.
        n: The number of samples, also if the batch is fixed, since `batched` cuts them into batches. None if the
            inputs have no batch dimension.
        seed: For the values.
        integers_below: By default, 8-bit integers (pixels) take all values that are not negative, and wider ones 0
            and 1.
        words: What strings are taken from, by input name; each input also gets a word that is not among them.
        free_size: The size of free dimensions.

    Example:
        >>> samples = synthetic_samples([TensorSpec("x", "float32", (None, None, 3))], 2)
        >>> samples.inputs["x"].shape
        (2, 8, 3)
    """
    inputs: Arrays = {}
    for index, spec in enumerate(specs):
        rng = np.random.default_rng([seed, index])
        shape = tuple(free_size if size is None else size for size in ((None,) if spec.shape is None else spec.shape))
        if n is not None and shape:
            shape = (n, *shape[1:])
        what = f"made-up values for input {spec.name!r} of shape {list(shape)}"
        check_memory(_MADE_AS * math.prod(shape), what)
        if spec.is_float:
            inputs[spec.name] = rng.standard_normal(shape).astype(_numpy_dtype(spec.dtype))
        elif spec.dtype == "string":
            known = np.array([*(words or {}).get(spec.name, ()), b"sample"], dtype=object)
            # In turn, so that few samples have many words, and the unknown one is among them.
            turn = np.arange(int(np.prod(shape))) + (0 if n == 1 else len(known) - 1)
            inputs[spec.name] = known[turn % len(known)].reshape(shape)
        else:
            below = {"uint8": 256, "int8": 128}.get(spec.dtype, 2) if integers_below is None else integers_below
            inputs[spec.name] = rng.integers(0, below, shape).astype(spec.dtype)
    return Samples(inputs)


def content_hash(arrays: Mapping[str, Array]) -> str:
    """`sha256:...` of the arrays' names, dtypes, shapes and values, whatever their file or order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        if array.dtype == object:
            digest.update(repr(array.reshape(-1).tolist()).encode())
            continue
        for piece in row_pieces(array):
            digest.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


def _numpy_dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    return np.dtype(name)


def _open(source: SampleSource) -> tuple[str, dict[str, Array]]:
    """The name of the samples in messages, and their arrays."""
    if isinstance(source, str | Path):
        source = Path(source)
        if not source.exists():
            raise ArgumentError(f"samples {source} do not exist")
        return str(source), read_arrays(source)
    is_named, arrays = isinstance(source, Mapping), dict[str, Array]()
    for name, values in dict(source if is_named else {"": source}).items():
        try:
            arrays[str(name)] = regular_array(values)
        except ValueError as error:
            text = "samples have rows of different lengths: pad or cut them, or give a dict of one array per input name"
            raise SamplesError(f"samples: {str(name)!r}: {error}" if is_named else text) from error
    return "samples", arrays


def read_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of an `.npz` or a directory of `NAME.npy` by name, or the one of an `.npy` as "".

    Raises:
        SamplesError: if it is something else, or damaged.
    """
    try:
        if path.is_dir():
            files = sorted(path.glob("*.npy"))
            if not files:
                raise SamplesError(f"{path}: the directory holds no .npy file; one per input is expected")
            return {file.stem: _map_npy(file) for file in files}
        if path.suffix == ".npy":
            return {"": _map_npy(path)}
        if path.suffix == ".npz":
            _check_regular(path)
            return read_npz(path)
    except AttnexportError:
        raise
    except Exception as error:  # on damaged files numpy and zipfile raise whatever their parts raise
        # numpy's own words advise to load it unsafely.
        reason = "damaged, or it holds Python objects" if "pickle" in str(error) else first_line(error)
        raise SamplesError(f"{path}: not a readable numpy file: {reason}") from error
    raise SamplesError(f"{path}: samples are an .npz, an .npy or a directory of .npy files")


def _map_npy(path: Path) -> Array:
    _check_regular(path)
    return np.lib.format.open_memmap(path, mode="r")


def _check_regular(path: Path) -> None:
    if not is_regular(path):
        raise SamplesError(f"{path} is not a regular file")
    try:
        check_filled(path)
    except ContentError as error:
        raise SamplesError(str(error)) from error


def _match_names(
    path: str, arrays: dict[str, Array], specs: Sequence[TensorSpec], aliases: Mapping[str, str]
) -> Arrays:
    # A single input's array needs no name, and may have any if the input is `input`, as exports call an unnamed one.
    if len(arrays) == 1 and len(specs) == 1 and (next(iter(arrays)) in ("", "arr_0") or specs[0].name == "input"):
        return {specs[0].name: next(iter(arrays.values()))}
    wanted = {spec.name for spec in specs}
    inputs = arrays if arrays.keys() == wanted else {aliases.get(name, name): each for name, each in arrays.items()}
    generated = sorted((name for name in inputs if name not in wanted and GENERATED_NAME.fullmatch(name)), key=_number)
    renamed = sorted((name for name in wanted if name not in inputs and _RENAMED.fullmatch(name)), key=_number)
    if generated and len(generated) == len(renamed):
        exported = dict(zip(generated, renamed, strict=True))
        inputs = {exported.get(name, name): each for name, each in inputs.items()}
    if wanted != inputs.keys():
        names = ", ".join(f"{spec.name!r} {format_shape(_many(spec))}" for spec in sorted(specs, key=str))
        raise SamplesError(
            f"{path}: holds {', '.join(map(repr, sorted(arrays))) if '' not in arrays else 'a lone array'}, "
            f"but the inputs are {names}; name one array after each (labels are called {LABELS!r})"
        )
    return inputs


def _number(name: str) -> int:
    digits = re.search(r"\d+$", name)
    return int(digits[0]) if digits else -1


def _cast(path: str, array: Array, spec: TensorSpec, notes: list[str]) -> Array:
    """Cast only without a loss that the model would see: floats to narrower ones, and integers that fit."""
    actual = dtype_name(array)
    if actual == spec.dtype:
        return array.astype(object) if actual == "string" and array.dtype.kind != "O" else array
    if spec.is_float and array.dtype.kind == "f":
        notes.append(f"{path}: {spec.name!r} was cast from {actual} to {spec.dtype}")
        with np.errstate(over="ignore"):  # what overflows shows as an infinity below
            return cast(array, _numpy_dtype(spec.dtype))
    if spec.is_integer and array.dtype.kind in "iu":
        bounds = np.iinfo(spec.dtype)
        if array.size and (array.min() < bounds.min or array.max() > bounds.max):
            raise SamplesError(f"{path}: {spec.name!r} holds integers outside {spec.dtype}")
        return cast(array, spec.dtype)
    raise SamplesError(f"{path}: {spec.name!r} has dtype {actual}; {spec.dtype} is expected")


def _spread_scalars(inputs: Arrays, specs: Sequence[TensorSpec]) -> None:
    """Give each sample its own scalar, if one is given for all of them."""
    count = next((len(inputs[spec.name]) for spec in specs if inputs[spec.name].ndim), None)
    for spec in specs:
        if count is not None and spec.shape == () and not inputs[spec.name].ndim:
            inputs[spec.name] = np.full(count, inputs[spec.name])


def _many(spec: TensorSpec) -> Shape | None:
    return (None, *spec.shape[1:]) if spec.shape else spec.shape


def _check(path: str, array: Array, spec: TensorSpec) -> None:
    wanted = _many(spec)
    if not fits(array.shape, wanted) and not (spec.shape == () and array.ndim == 1):
        hint = ""
        if spec.shape and fits(array.shape, spec.shape[1:]):
            hint = "; the batch dimension is missing (add it with array[None])"
        raise SamplesError(
            f"{path}: {spec.name!r} has shape {format_shape(array.shape)}; {format_shape(wanted)} is expected{hint}"
        )
    if not array.size:
        raise SamplesError(f"{path}: {spec.name!r} holds no samples")
    if spec.is_float:
        start = 0
        for piece in row_pieces(array):
            finite = np.isfinite(piece.astype(np.float32, copy=False))
            if not finite.all():
                index = np.argwhere(~finite)[0]
                index[0] += start
                raise SamplesError(f"{path}: {spec.name!r} holds NaN or infinity at {index.tolist()}")
            start += len(piece)
