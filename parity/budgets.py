"""The only table of tolerances: how far an artifact of each precision may be from its original."""

from __future__ import annotations

from dataclasses import dataclass

from attnexport.core.errors import ArgumentError, no_such

# A float32 error may also reach this many times the reference's own change when its inputs move by one float32 ulp:
# at large magnitudes a correct model differs by more than any fixed tolerance.
NOISE_FACTOR = 4.0


@dataclass(frozen=True)
class Budget:
    """What artifacts of a precision may lose: either a relative error or an SQNR, of the whole output and by column.

    Attributes:
        precision: Its name, as recipes and manifests have it.
        relative_error: Greatest error, relative to the largest magnitude of the output, and of each column.
        min_sqnr_db: Least signal-to-quantization-noise ratio of the whole output, in dB.
        min_column_sqnr_db: Least SQNR of each column with its mean taken out, in dB: it catches what is lost. If a
            relative error binds, it applies only where an SQNR is asked for in place of that.
        step: Step between values within 0 and 1, as an integer softmax has it; half of it does not count as an error of
            a column.
    """

    precision: str
    relative_error: float | None = None
    min_sqnr_db: float | None = None
    min_column_sqnr_db: float = 20.0
    step: float = 0.0


BUDGETS = {
    budget.precision: budget
    for budget in (
        Budget("float32", relative_error=1e-5),
        Budget("float16", min_sqnr_db=60.0),
        Budget("bfloat16", min_sqnr_db=40.0, min_column_sqnr_db=10.0),
        Budget("dynamic", min_sqnr_db=25.0, min_column_sqnr_db=10.0, step=1 / 256),
        Budget("int8", min_sqnr_db=25.0, min_column_sqnr_db=10.0, step=1 / 256),
        Budget("int16x8", min_sqnr_db=40.0, step=1 / 32768),
        Budget("int4", min_sqnr_db=15.0, min_column_sqnr_db=6.0, step=1 / 256),
    )
}


def budget_of(precision: str) -> Budget:
    """The budget of a precision.

    Raises:
        ArgumentError: The precision is unknown; the message lists the known ones.

    Example:
        >>> budget_of("int8").min_sqnr_db
        25.0
    """
    if precision not in BUDGETS:
        raise ArgumentError(no_such("budget for precision", precision, BUDGETS))
    return BUDGETS[precision]


# The share of integers and booleans (labels, thresholds, indices of the best) that must be equal where what they are
# computed from is not exact: a value beside a border falls to the other side.
_LEAST_EQUAL = {"float16": 0.97, "bfloat16": 0.95, "int16x8": 0.95, "dynamic": 0.8, "int8": 0.8, "int4": 0.6}


def least_equal(precision: str) -> float:
    """The share of an output's integers or booleans that must be equal, 0 to 1.

    Example:
        >>> least_equal("float32"), least_equal("int8")
        (1.0, 0.8)
    """
    return _LEAST_EQUAL.get(precision, 1.0)
