"""Numerical parity: compares Runners and judges the difference. Knows no TensorFlow."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .budgets import BUDGETS, Budget
    from .comparison import Case, compare
    from .metrics import Distance, agreement, distance
    from .tally import Measurement, Tally
    from .tolerance import Tolerance
    from .validation import Batch, Check, Subject, Validation, validate
    from .verdict import Finding, Verdict

_HOMES = {
    "BUDGETS": "budgets",
    "Batch": "validation",
    "Budget": "budgets",
    "Case": "comparison",
    "Check": "validation",
    "Distance": "metrics",
    "Finding": "verdict",
    "Measurement": "tally",
    "Subject": "validation",
    "Tally": "tally",
    "Tolerance": "tolerance",
    "Validation": "validation",
    "Verdict": "verdict",
    "agreement": "metrics",
    "compare": "comparison",
    "distance": "metrics",
    "validate": "validation",
}

__all__ = [
    "BUDGETS",
    "Batch",
    "Budget",
    "Case",
    "Check",
    "Distance",
    "Finding",
    "Measurement",
    "Subject",
    "Tally",
    "Tolerance",
    "Validation",
    "Verdict",
    "agreement",
    "compare",
    "distance",
    "validate",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
