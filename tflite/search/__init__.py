"""The precision search: the smallest or fastest recipe whose losses stay within limits."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from ._search import search
    from .goal import DEFAULT_TRIALS, OBJECTIVES, Goal, Measurement
    from .result import SearchResult
    from .space import SearchSpace
    from .trials import Trial

_HOMES = {
    "DEFAULT_TRIALS": "goal",
    "Goal": "goal",
    "Measurement": "goal",
    "OBJECTIVES": "goal",
    "SearchResult": "result",
    "SearchSpace": "space",
    "Trial": "trials",
    "search": "_search",
}

__all__ = [
    "DEFAULT_TRIALS",
    "OBJECTIVES",
    "Goal",
    "Measurement",
    "SearchResult",
    "SearchSpace",
    "Trial",
    "search",
]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
