"""Signatures: the named functions of an artifact, with their input and output tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

from .errors import ArgumentError, SamplesError, one_of
from .printable import printable

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int | None, ...]
Array: TypeAlias = "np.ndarray[Any, Any]"  # of any dtype and shape
Arrays: TypeAlias = "dict[str, Array]"  # by tensor name
Method = Literal["predict", "classify", "regress"]

DEFAULT_SIGNATURE = "serving_default"
DTYPES = (
    *("float32", "float16", "bfloat16", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"),
    *("uint64", "int4", "uint4", "bool", "string", "complex64", "complex128"),
)

# What tf.saved_model.save takes as an argument's name; its own error for others comes late and is unclear.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_WRITTEN = re.compile(r"(?P<name>[^:]+):\s*(?P<dtype>\w+)\s*\[(?P<shape>[^\[\]]*)\]")


def check_name(name: str, what: str) -> str:
    """Return the name of an exported tensor or signature if TensorFlow takes it, or raise an ArgumentError."""
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"{what} {name!r} is not a usable name: it starts with a letter or underscore, "
            "then letters, digits, '_', '-' or '.'"
        )
    return name


def usable_name(text: str) -> str:
    """Change a text into a name that `check_name` accepts.

    Example:
        >>> usable_name("dense 1/Softmax")
        'dense_1_Softmax'
    """
    name = re.sub(r"[^A-Za-z0-9_.\-]", "_", text)
    return name if _NAME.fullmatch(name) else f"_{name}"


def format_shape(shape: Shape | None) -> str:
    """A shape for people: a free dimension is a question mark, an unknown rank `[...]`.

    Example:
        >>> format_shape((None, 10, 64))
        '[?, 10, 64]'
    """
    if shape is None:
        return "[...]"
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def parse_shape(text: str) -> Shape:
    """A shape from sizes with commas between them; `?` is a free dimension, and so is Python's `None`.

    Raises:
        ArgumentError: for anything else.

    Example:
        >>> parse_shape("1, 32, ?, 3"), parse_shape("None,6")
        ((1, 32, None, 3), (None, 6))
    """
    sizes = [each.strip().replace("None", "?") for each in text.split(",")] if text.strip() else []
    if not all(each == "?" or re.fullmatch(r"[0-9]{1,18}", each) for each in sizes):
        raise ArgumentError(f"shape {text!r} is not usable: sizes with commas between them, ? for a free dimension")
    return tuple(None if each == "?" else int(each) for each in sizes)


@lru_cache(maxsize=4096)  # called for each request of a server, with few shapes
def fits(actual: tuple[int, ...], wanted: Shape | None) -> bool:
    """Whether an array of shape `actual` fits an input declared with shape `wanted`."""
    if wanted is None:
        return True
    return len(actual) == len(wanted) and all(w is None or a == w for a, w in zip(actual, wanted, strict=True))


@dataclass(frozen=True)
class TensorSpec:
    """A named tensor: dtype as numpy names it (`string` for bytes), shape with None for a free dimension.

    Example:
        >>> print(TensorSpec.parse("tokens:int32[?,128]"))
        tokens: int32 [?, 128]
    """

    name: str
    dtype: str
    shape: Shape | None

    def __str__(self) -> str:
        return f"{printable(self.name)}: {printable(self.dtype)} {format_shape(self.shape)}"

    def __post_init__(self) -> None:
        if self.shape is not None and any(size is not None and size < 0 for size in self.shape):
            raise ArgumentError(f"tensor {self.name!r} has shape {list(self.shape)}; a size is 0 or more, or None")

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """A tensor as people write it, NAME:DTYPE[SHAPE] with `?` for a free dimension; else an ArgumentError."""
        match = _WRITTEN.fullmatch(text.strip())
        if match is None or match["dtype"] not in DTYPES:
            raise ArgumentError(
                f"{text!r} is not NAME:DTYPE[SHAPE], such as tokens:int32[?,128]; a dtype is {one_of(DTYPES[:12])}, "
                "string or bool, and ? a free dimension"
            )
        return cls(check_name(match["name"], "input name"), match["dtype"], parse_shape(match["shape"]))

    def agrees(self, other: TensorSpec) -> bool:
        """Whether dtype and sizes are the same, apart from dimensions that are free in one of them."""
        if self.shape is None or other.shape is None or self.dtype != other.dtype:
            return self.dtype == other.dtype
        pairs = zip(self.shape, other.shape, strict=False)
        return len(self.shape) == len(other.shape) and all(None in pair or pair[0] == pair[1] for pair in pairs)

    def with_sizes(self, shape: Shape) -> TensorSpec:
        """The tensor with free dimensions fixed; None in `shape` leaves one as it is.

        Raises:
            ArgumentError: for another number of dimensions, or a size that contradicts a fixed one.
        """
        own = self.shape if self.shape is not None else (None,) * len(shape)
        pairs = list(zip(own, shape, strict=False))
        if len(own) != len(shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ArgumentError(f"shape {format_shape(tuple(shape))} does not fit input {self}")
        return replace(self, shape=tuple(size if given is None else given for size, given in pairs))

    @property
    def is_float(self) -> bool:
        return self.dtype in ("float16", "bfloat16", "float32", "float64")

    @property
    def is_integer(self) -> bool:
        return self.dtype.removeprefix("u").startswith("int")


@dataclass(frozen=True)
class Signature:
    """A named function of an artifact: its inputs, its outputs, and the method that serves it.

    Raises:
        ArgumentError: if it has no input or no output, or names one twice.

    Example:
        >>> x, y = TensorSpec("x", "float32", (None, 3)), TensorSpec("y", "float32", (None,))
        >>> print(Signature("serving_default", (x,), (y,)))
        serving_default(x: float32 [?, 3]) -> (y: float32 [?])
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    method: Method = "predict"

    needs_inputs: ClassVar[bool] = True  # models are exported and compared with inputs; servers run any signature

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ArgumentError(f"signature {self.name!r}: method {self.method!r} is not {one_of(get_args(Method))}")
        for kind, specs in (("input", self.inputs), ("output", self.outputs)):
            if not specs and (kind == "output" or self.needs_inputs):
                raise ArgumentError(f"signature {self.name!r} has no {kind}")
            repeated = duplicates(spec.name for spec in specs)
            if repeated:
                raise ArgumentError(f"signature {self.name!r} names the {kind} {repeated[0]!r} twice")

    def __str__(self) -> str:
        inputs, outputs = (", ".join(map(str, specs)) for specs in (self.inputs, self.outputs))
        return f"{printable(self.name)}({inputs}) -> ({outputs})"

    @cached_property
    def _input_names(self) -> frozenset[str]:
        return frozenset(spec.name for spec in self.inputs)

    @cached_property
    def is_batched(self) -> bool:
        """Whether the inputs have a batch: one first dimension, free or of one size, and no tensor is a scalar.

        Outputs may have another first dimension, such as the names of all classes; these are not cut.
        """
        if not self.inputs or any(spec.shape == () for spec in (*self.inputs, *self.outputs)):
            return False
        return len({spec.shape[0] for spec in self.inputs if spec.shape}) <= 1

    @cached_property
    def fixed_batch(self) -> int | None:
        """The fixed batch size of the inputs, None if the batch is free."""
        sizes = {spec.shape[0] for spec in self.inputs if spec.shape} - {None}
        return sizes.pop() if len(sizes) == 1 else None

    def tensors_without_batch(self, outputs: Sequence[str] = ()) -> tuple[TensorSpec, ...]:
        """The inputs and outputs whose first dimension is not declared to be free; an unknown rank is not.

        The rule for joining requests and for splitting them: only if there is no such tensor, all first dimensions are
        one batch.

        Args:
            outputs: The outputs that are asked for; all if empty.

        Example:
            >>> x, labels = TensorSpec("x", "float32", (None, 3)), TensorSpec("labels", "string", (3,))
            >>> [str(each) for each in Signature("serving_default", (x,), (labels,)).tensors_without_batch()]
            ['labels: string [3]']
        """
        specs = (*self.inputs, *(each for each in self.outputs if not outputs or each.name in outputs))
        return tuple(each for each in specs if each.shape is None or each.shape[:1] != (None,))

    def answers(self, other: Signature) -> bool:
        """Whether clients of another signature can be served by this one: the same inputs, and at least its outputs.

        Example:
            >>> free, fixed = TensorSpec("x", "float32", (None, 3)), TensorSpec("x", "float32", (1, 3))
            >>> Signature("s", (fixed,), (free,)).answers(Signature("s", (free,), (free,)))
            True
            >>> Signature("s", (free,), (replace(free, name="y"),)).answers(Signature("s", (free,), (free,)))
            False
        """
        takes, gives = ({spec.name: spec for spec in specs} for specs in (self.inputs, self.outputs))
        return (
            self.method == other.method
            and takes.keys() == other._input_names
            and all(spec.agrees(takes[spec.name]) for spec in other.inputs)
            and all(spec.name in gives and spec.agrees(gives[spec.name]) for spec in other.outputs)
        )

    def with_free_batch(self) -> Signature:
        """The signature for callers whose samples are cut into its batches: it takes any number of them."""

        def free(spec: TensorSpec) -> TensorSpec:
            has_batch = spec.shape and spec.shape[0] == self.fixed_batch
            return replace(spec, shape=(None, *spec.shape[1:])) if has_batch and spec.shape else spec

        inputs, outputs = (tuple(map(free, specs)) for specs in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs)

    def check_inputs(self, inputs: Mapping[str, Array]) -> None:
        """Check inputs by name, dtype and shape.

        Raises:
            SamplesError: naming the first input that does not fit, and what is expected.
        """
        if inputs.keys() != self._input_names:
            names = self._input_names
            missing, extra = sorted(names - inputs.keys()), sorted(inputs.keys() - names)
            different = ", ".join([f"missing {name!r}" for name in missing] + [f"unknown {name!r}" for name in extra])
            raise SamplesError(
                f"signature {self.name!r}: {different}; its inputs are {'; '.join(map(str, self.inputs))}"
            )
        for spec in self.inputs:
            array = inputs[spec.name]
            dtype = _dtype_name(array.dtype)
            if dtype != spec.dtype:
                raise SamplesError(f"input {spec.name!r} of {self.name!r} has dtype {dtype}; {spec.dtype} is expected")
            if not fits(array.shape, spec.shape):
                raise SamplesError(
                    f"input {spec.name!r} of {self.name!r} has shape {format_shape(array.shape)}; "
                    f"{format_shape(spec.shape)} is expected"
                )


class InputlessSignature(Signature):
    """A signature that takes no inputs: it reads a file, a clock or a variable."""

    needs_inputs: ClassVar[bool] = False


def dtype_name(array: Array) -> str:
    """The dtype as a TensorSpec names it: numpy's name, and `string` for bytes, str and object arrays."""
    return _dtype_name(array.dtype)


@cache  # numpy makes the name anew each time
def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "string" if dtype.kind in "OSU" else dtype.name


def duplicates(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, in order of their second occurrence."""
    seen: set[str] = set()
    repeated = []
    for name in names:
        if name in seen and name not in repeated:
            repeated.append(name)
        seen.add(name)
    return repeated
