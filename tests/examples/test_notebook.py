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
    for cell in notebook.cells:
        progress = [output for output in cell.get("outputs", ()) if output.output_type == "display_data"]
        wanted = "show_progress" in cell.source
        assert len(progress) == wanted, "progress is shown in one place, by what takes its own place"
        if wanted:
            assert progress[0].data["text/plain"].endswith("…")
            told = [output.text for output in cell.outputs if output.output_type == "stream"]
            assert not [text for text in told if "INFO: [" in text or "INFO:tensorflow" in text or "…" in text]
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert len([each for each in shown if "<table>" in each.get("text/html", "")]) == 3
    assert "True" in shown[-1]["text/plain"]
