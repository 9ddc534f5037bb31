"""The notebook of examples/ runs from top to bottom, and shows each result as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow


def test_the_notebook_runs_and_shows_its_results(root: Path, tmp_path: Path) -> None:
    notebook: Any = nbformat.read(root / "examples" / "tour.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert len([each for each in shown if "<table>" in each.get("text/html", "")]) == 3
    assert "True" in shown[-1]["text/plain"]
