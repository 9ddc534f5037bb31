"""Numerical parity: compares Runners and judges the difference. Knows no TensorFlow."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .budgets import BUDGETS, Budget, budget_of
    from .checks import Batch, Check, Subject, Validation
    from .comparison import Case, compare
    from .figures import Figures
    from .judgement import Judgement, judge
    from .limits import Limits
    from .metrics import agreement, distance
    from .tally import Tally, evaluate, measure
    from .validation import validate
    from .verdict import Finding, Verdict

_HOMES = {
    "BUDGETS": "budgets",
    "Batch": "checks",
    "Budget": "budgets",
    "Case": "comparison",
    "Check": "checks",
    "Figures": "figures",
    "Finding": "verdict",
    "Judgement": "judgement",
    "Limits": "limits",
    "Subject": "checks",
    "Tally": "tally",
    "Validation": "checks",
    "Verdict": "verdict",
    "agreement": "metrics",
    "budget_of": "budgets",
    "compare": "comparison",
    "distance": "metrics",
    "evaluate": "tally",
    "judge": "judgement",
    "measure": "tally",
    "validate": "validation",
}

__all__ = [
    "BUDGETS",
    "Batch",
    "Budget",
    "Case",
    "Check",
    "Figures",
    "Finding",
    "Judgement",
    "Limits",
    "Subject",
    "Tally",
    "Validation",
    "Verdict",
    "agreement",
    "budget_of",
    "compare",
    "distance",
    "evaluate",
    "judge",
    "measure",
    "validate",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
