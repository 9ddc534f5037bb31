"""Numerical parity: compares Runners and judges the difference. Knows no TensorFlow."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .budgets import BUDGETS, Budget
    from .comparison import Case, compare
    from .metrics import Distance, agreement, distance
    from .verdict import Finding, Verdict

_HOMES = {
    "BUDGETS": "budgets",
    "Budget": "budgets",
    "Case": "comparison",
    "Distance": "metrics",
    "Finding": "verdict",
    "Verdict": "verdict",
    "agreement": "metrics",
    "compare": "comparison",
    "distance": "metrics",
}

__all__ = ["BUDGETS", "Budget", "Case", "Distance", "Finding", "Verdict", "agreement", "compare", "distance"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
