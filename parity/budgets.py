"""The only table of tolerances: how far an artifact of each precision may be from its original."""

from __future__ import annotations

from dataclasses import dataclass

# A float32 error may also reach this many times the reference's own change when its inputs move by one float32 ulp:
# at large magnitudes a right model differs by more than any fixed tolerance.
NOISE_FACTOR = 4.0


@dataclass(frozen=True)
class Budget:
    """What a precision may lose: an error relative to the output's scale, or a least SQNR in dB; one of the two."""

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
