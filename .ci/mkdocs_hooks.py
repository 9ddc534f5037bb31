"""What mkdocs needs beside its configuration."""

from __future__ import annotations

import copy
from typing import Any

import click
from mkdocs_click import _docs

_format_row = _docs._format_table_option_row


def _row(option: click.Option) -> str:
    """mkdocs-click 0.9 shows click's mark for "no default" as it is."""
    if getattr(option.default, "name", None) == "UNSET":
        option = copy.copy(option)
        option.default = None
    return _format_row(option)


def on_startup(**_: Any) -> None:
    """Called once, before pages are built."""
    _docs._format_table_option_row = _row
