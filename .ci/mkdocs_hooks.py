"""What mkdocs needs beside its configuration."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import click
from mkdocs_click import _docs

_format_row = _docs._format_table_option_row
# The offline plugin would fetch this one for the search of pages that are opened from disk.
_FETCHED_SHIM = '<script src="https://unpkg.com/iframe-worker/shim"></script>'


def _row(option: click.Option) -> str:
    """mkdocs-click 0.9 shows click's mark for "no default" as it is."""
    if getattr(option.default, "name", None) == "UNSET":
        option = copy.copy(option)
        option.default = None
    return _format_row(option)


def on_startup(**_: Any) -> None:
    """Called once, before pages are built."""
    _docs._format_table_option_row = _row


def on_post_page(output: str, **_: Any) -> str:
    """Called with each page: what it would fetch is put into it."""
    shim = Path(__file__).with_name("worker_shim.js").read_text(encoding="utf-8")
    return output.replace(_FETCHED_SHIM, f"<script>{shim}</script>")
