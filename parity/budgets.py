"""The only table of tolerances: how far an artifact of each precision may be from its original."""

from __future__ import annotations

from dataclasses import dataclass

from attnexport.core.errors import ArgumentError, no_such

# A float32 error may also reach this many times the reference's own change when its inputs move by one float32 ulp:
# at large magnitudes a correct model differs by more than any fixed tolerance.
NOISE_FACTOR = 4.0


@dataclass(frozen=True)
class Budget:
    """What artifacts of a precision may lose: either a relative error or an SQNR.

    Attributes:
        precision: Its name, as recipes and manifests have it.
        relative_error: Greatest error, relative to the largest magnitude of the output.
        min_sqnr_db: Least signal-to-quantization-noise ratio, in dB.
    """

    precision: str
    relative_error: float | None = None
    min_sqnr_db: float | None = None


BUDGETS = {
    budget.precision: budget
    for budget in (
        Budget("float32", relative_error=1e-5),
        Budget("float16", min_sqnr_db=60.0),
        Budget("bfloat16", min_sqnr_db=40.0),
        Budget("dynamic", min_sqnr_db=25.0),
        Budget("int8", min_sqnr_db=25.0),
        Budget("int16x8", min_sqnr_db=40.0),
        Budget("int4", min_sqnr_db=15.0),
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
