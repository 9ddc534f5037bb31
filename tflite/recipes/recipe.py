"""Recipes: what is quantized, to which types, what stays float, and how ranges are found.

Names follow one grammar: `[ACTIVATIONSx]WEIGHTS`. `float32`, `float16` and `int4` name the type of the weights, the
activations being float32; `int8` has both in int8, `int16x8` int16 activations by int8 weights. `dynamic` alone keeps
its historical name: int8 weights, and activations quantized on the fly. A suffix names further options:
`int8-integer-only`, `int8-io-uint8`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from attnexport.core.errors import ArgumentError, no_such, one_of

WEIGHTS = ("float32", "float16", "int8", "int4")
ACTIVATIONS = ("float32", "dynamic", "int8", "int16")
IO_TYPES = ("float32", "int8", "uint8", "int16")
WEIGHT_ALGORITHMS = ("minmax", "octav", "mse", "gptq")
FITTED = "gptq"  # the algorithm that needs samples of a layer's inputs
CALIBRATORS = ("minmax", "minmax-wide", "minmax-double", "percentile-99.99", "percentile-99.9", "moving-average")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]*")
_INTEGERS = ("int8", "int16")
INTEGER_BITS = {"int8": 8, "int4": 4}  # of weights
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
# The rows of parity's table of budgets, the least precise first.
_PRECISIONS = ("int4", "dynamic", "int8", "int16x8", "float16", "float32")


@dataclass(frozen=True)
class LayerRule:
    """A different precision for some operators.

    Attributes:
        tensors: Operators, by name in capitals or by a regular expression, as in `Recipe.keep_float`.
        weights: Type of their weights. Operators without a kernel for it stay float32.
        activations: As in Recipe.
        weight_algorithm: How their weights are rounded.

    Raises:
        ArgumentError: for an invalid combination.
    """

    tensors: str
    weights: str
    activations: str = "float32"
    weight_algorithm: str = "minmax"

    def __post_init__(self) -> None:
        name = f"layers {self.tensors!r}"
        check_pattern(name, "tensors", self.tensors)
        _check_types(name, self.weights, self.activations)
        check_one(name, "weight algorithm", self.weight_algorithm, WEIGHT_ALGORITHMS)

    @property
    def precision(self) -> str:
        """The row of parity's table of budgets."""
        return _precision(self.weights, self.activations)


@dataclass(frozen=True)
class Recipe:
    """A quantization scheme.

    Attributes:
        name: Part of the names of its files.
        weights: Type of the weights: float32, float16, int8 or int4; integers have a scale per channel.
        activations: float32; `dynamic`, float32 that kernels quantize on the fly; or int8 and int16 by calibration.
        keep_float: Operators, by name in capitals (`SOFTMAX`) or by a regular expression that is searched for in their
            outputs' tensor names, that stay float32.
        layers: Different precisions for some operators; later ones win, also over `keep_float`.
        integer_only: The conversion fails if an operator stays float.
        io: Type of the inputs and outputs; None is float32, or the type of the activations if `integer_only`.
        calibrator: How ranges are found; `auto` measures each way on held-out samples.
        weight_algorithms: How weights are rounded; of several, the best on held-out samples. `gptq` is tried only if
            there are samples of the user's, or if it is the only one.
        min_sqnr_db: The least SQNR in dB against the original; None for the budget of its precision.
        calibrated_on: Hash of the calibration samples of the search that found it; other samples give other ranges,
            and another file.

    Raises:
        ArgumentError: for an invalid combination.
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
    layers: tuple[LayerRule, ...] = ()
    calibrated_on: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ArgumentError(f"recipe name {self.name!r} is not usable: letters, digits, '_' and '-' make a name")
        where = f"recipe {self.name!r}"
        _check_types(where, self.weights, self.activations)
        if self.io is not None:
            check_one(where, f"io for {self.activations} activations", self.io, _IO[self.activations])
        check_one(where, "calibrator", self.calibrator, ("auto", *CALIBRATORS))
        if not self.weight_algorithms:
            raise ArgumentError(
                f"recipe {self.name!r}: weight_algorithms is empty; name one or more of {one_of(WEIGHT_ALGORITHMS)}"
            )
        for each in self.weight_algorithms:
            check_one(where, "weight algorithm", each, WEIGHT_ALGORITHMS)
        if self.integer_only and (self.keep_float or self.layers or self.activations not in _INTEGERS):
            raise ArgumentError(
                f"recipe {self.name!r}: integer_only is for int8 and int16 activations with nothing kept float; "
                f"activations are {self.activations}, and {one_of(self.keep_float)} kept"
            )
        if self.keep_float and self.weights == "float32":
            raise ArgumentError(
                f"recipe {self.name!r}: keep_float is for what is quantized, and a float32 recipe quantizes nothing"
            )
        for each in self.keep_float:
            check_pattern(where, "keep_float", each)
        minimum = self.min_sqnr_db
        if minimum is not None and (
            not isinstance(minimum, int | float) or isinstance(minimum, bool) or not isfinite(minimum)
        ):
            raise ArgumentError(f"recipe {self.name!r}: min_sqnr_db must be a number of dB; received {minimum!r}")

    @property
    def needs_calibration(self) -> bool:
        """Whether it needs samples to find the ranges of activations."""
        return bool(self.integer_activations)

    @property
    def needs_samples(self) -> bool:
        """Whether it cannot be followed without samples: for ranges, or to round weights by what they multiply."""
        only_fitted = self.weights in INTEGER_BITS and set(self.weight_algorithms) == {FITTED}
        fitted_rules = (each.weight_algorithm == FITTED and each.weights in INTEGER_BITS for each in self.layers)
        return self.needs_calibration or only_fitted or any(fitted_rules)

    @property
    def integer_activations(self) -> frozenset[str]:
        """The integer types of its activations."""
        return frozenset((self.activations, *(each.activations for each in self.layers))).intersection(_INTEGERS)

    @property
    def precision(self) -> str:
        """The row of parity's table of budgets that applies: that of its least precise part."""
        precisions = {_precision(self.weights, self.activations), *(each.precision for each in self.layers)}
        return next(each for each in _PRECISIONS if each in precisions)

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
        """The recipe with further options; integer_only and io show in its name.

        Example:
            >>> Recipe("int8", weights="int8", activations="int8").altered(io="uint8").name
            'int8-io-uint8'
        """
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


def check_one(where: str, what: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a value that is not among the choices."""
    if value not in choices:
        raise ArgumentError(f"{where}: {no_such(what, str(value), choices)}")


def check_pattern(where: str, what: str, pattern: str) -> None:
    """Refuse what is not a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ArgumentError(f"{where}: {what} {pattern!r} is not a regular expression: {error}") from error


def _check_types(where: str, weights: str, activations: str) -> None:
    check_one(where, "weights", weights, WEIGHTS)
    check_one(where, "activations", activations, ACTIVATIONS)
    check_one(where, f"activations for {weights} weights", activations, _PAIRS[weights])


def _precision(weights: str, activations: str) -> str:
    if activations in _INTEGERS:
        return "int8" if activations == "int8" else "int16x8"
    return "dynamic" if weights == "int8" else weights
