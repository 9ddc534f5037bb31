"""The report of a validation: one HTML file that opens offline, drawn with matplotlib and jinja2."""

from typing import TYPE_CHECKING

from attnexport.core.lazy import lazy_names

if TYPE_CHECKING:
    from .contents import Change, ComparedData, Confusion, Report, WorstSample
    from .page import render

_HOMES = {
    "Change": "contents",
    "ComparedData": "contents",
    "Confusion": "contents",
    "Report": "contents",
    "WorstSample": "contents",
    "render": "page",
}

__all__ = ["Change", "ComparedData", "Confusion", "Report", "WorstSample", "render"]

if not TYPE_CHECKING:  # type checkers then report names that do not exist
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
