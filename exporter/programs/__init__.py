"""A SavedModel as a program: what it would do is read before anything of it runs."""

from __future__ import annotations

from .checking import check_program, does_more_than_compute
from .graph import MetaGraphs, node_of, operators_of
from .reading import read_saved_model

__all__ = ["MetaGraphs", "check_program", "does_more_than_compute", "node_of", "operators_of", "read_saved_model"]
