"""A recipe: what is quantized, to which types, what stays float, and how ranges are found.

Names follow one grammar: `[ACTIVATIONSx]WEIGHTS`. `float32`, `float16` and `int4` name the type of the weights, the
activations being float32; `int8` has both in int8, `int16x8` int16 activations by int8 weights. `dynamic` alone keeps
its historical name: int8 weights, and activations quantized on the fly. A suffix says what was asked for on top:
`int8-integer-only`, `int8-io-uint8`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

from attnexport.core.errors import ArgumentError, ContentError, first_line, no_such, one_of

WEIGHTS = ("float32", "float16", "int8", "int4")
ACTIVATIONS = ("float32", "dynamic", "int8", "int16")
IO_TYPES = ("float32", "int8", "uint8", "int16")
WEIGHT_ALGORITHMS = ("minmax", "octav", "mse")
CALIBRATORS = ("minmax", "minmax-wide", "minmax-double", "percentile-99.99", "percentile-99.9", "moving-average")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]*")
_PAIRS = {
    "float32": ("float32",),
    "float16": ("float32",),
    "int8": ("float32", "dynamic", "int8", "int16"),
    "int4": ("float32", "dynamic"),
}
_IO = {
    "float32": ("float32",),
    "dynamic": ("float32",),
    "int8": ("float32", "int8", "uint8"),
    "int16": ("float32", "int16"),
}


@dataclass(frozen=True)
class Recipe:
    """A quantization scheme.

    Attributes:
        name: What files made by it are called.
        weights: Type of the weights: float32, float16, int8 or int4; integers have a scale per channel.
        activations: float32; `dynamic`, float32 that kernels quantize on the fly; or int8 and int16 by calibration.
        keep_float: Operators, by name in capitals (`SOFTMAX`) or by a regular expression that is searched for in their
            outputs' tensor names, that stay float32 where activations are quantized.
        integer_only: No operator stays float, or the conversion fails.
        io: Type of the inputs and outputs; None is float32, and that of the activations where `integer_only`.
        calibrator: How ranges are found; `auto` measures all on held-out samples.
        weight_algorithms: How weights are rounded; several are measured on held-out samples.
        min_sqnr_db: The least SQNR in dB against the original; parity's budget of the precision where None.

    Raises:
        ArgumentError: for a combination that there is not.
    """

    name: str
    weights: str
    activations: str = "float32"
    keep_float: tuple[str, ...] = ()
    integer_only: bool = False
    io: str | None = None
    calibrator: str = "auto"
    weight_algorithms: tuple[str, ...] = ("minmax",)
    min_sqnr_db: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ArgumentError(f"recipe name {self.name!r} is not usable: letters, digits, '_' and '-' make a name")
        _check(self.name, "weights", self.weights, WEIGHTS)
        _check(self.name, "activations", self.activations, ACTIVATIONS)
        _check(self.name, f"activations for {self.weights} weights", self.activations, _PAIRS[self.weights])
        if self.io is not None:
            _check(self.name, f"io for {self.activations} activations", self.io, _IO[self.activations])
        _check(self.name, "calibrator", self.calibrator, ("auto", *CALIBRATORS))
        if not self.weight_algorithms:
            raise ArgumentError(f"recipe {self.name!r}: weight_algorithms is empty; {one_of(WEIGHT_ALGORITHMS)} is one")
        for each in self.weight_algorithms:
            _check(self.name, "weight algorithm", each, WEIGHT_ALGORITHMS)
        if self.integer_only and (self.keep_float or not self.needs_calibration):
            raise ArgumentError(
                f"recipe {self.name!r}: integer_only is for int8 and int16 activations with nothing kept float; "
                f"activations are {self.activations}, and {one_of(self.keep_float)} kept"
            )
        if self.keep_float and not self.needs_calibration:
            raise ArgumentError(
                f"recipe {self.name!r}: keep_float is for int8 and int16 activations; "
                f"with {self.activations} activations every operator computes in float32 already"
            )
        for each in self.keep_float:
            _check_pattern(self.name, each)
        least = self.min_sqnr_db
        if least is not None and (isinstance(least, bool) or not isinstance(least, int | float) or not isfinite(least)):
            raise ArgumentError(f"recipe {self.name!r}: min_sqnr_db must be a number of dB; received {least!r}")

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations must be known."""
        return self.activations in ("int8", "int16")

    @property
    def precision(self) -> str:
        """The row of parity's table of budgets that it is held to."""
        if self.needs_calibration:
            return "int8" if self.activations == "int8" else "int16x8"
        return "dynamic" if self.weights == "int8" else self.weights

    @property
    def io_type(self) -> str:
        """Type of inputs and outputs."""
        return self.io or (self.activations if self.integer_only else "float32")

    def altered(
        self,
        *,
        integer_only: bool = False,
        io: str | None = None,
        keep_float: Sequence[str] = (),
        calibrator: str | None = None,
        min_sqnr_db: float | None = None,
    ) -> Recipe:
        """The recipe with what was asked for on top; integer_only and io show in its name."""
        name = self.name + "-integer-only" * integer_only + (f"-io-{io}" if io else "")
        return replace(
            self,
            name=name,
            integer_only=integer_only or self.integer_only,
            io=io or self.io,
            keep_float=(() if integer_only else self.keep_float) + tuple(keep_float),
            calibrator=calibrator or self.calibrator,
            min_sqnr_db=self.min_sqnr_db if min_sqnr_db is None else min_sqnr_db,
        )


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from JSON: an object with the attributes of Recipe.

    Raises:
        ArgumentError: where the file does not exist, or a value is not one that there is.
        ContentError: where it is no such JSON.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArgumentError(f"recipe {path} does not exist") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ContentError(f"recipe {path} is not readable JSON: {first_line(error)}") from error
    known = [each.name for each in fields(Recipe)]
    if not isinstance(document, dict) or not {"weights"} <= document.keys():
        raise ContentError(f'recipe {path} must be an object such as {{"weights": "int8", "activations": "int8"}}')
    for key in document:
        if key not in known:
            raise ContentError(f"recipe {path}: {no_such('key', str(key), known)}")
    texts: dict[str, Any] = {}
    for key in ("keep_float", "weight_algorithms"):
        if key in document:
            if not isinstance(document[key], list) or not all(isinstance(each, str) for each in document[key]):
                raise ContentError(f"recipe {path}: {key} must be a list of texts; received {document[key]!r}")
            texts[key] = tuple(document[key])
    if not isinstance(document.get("integer_only", False), bool):
        raise ContentError(f"recipe {path}: integer_only must be true or false")
    return Recipe(**{"name": path.stem, **document, **texts})


def _check(name: str, what: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ArgumentError(f"recipe {name!r}: {no_such(what, str(value), choices)}")


def _check_pattern(name: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"recipe {name!r}: keep_float {pattern!r} is no regular expression: {error}") from error
