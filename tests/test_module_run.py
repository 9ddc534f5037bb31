"""`python -m attnexport` and the children that attnexport starts import nothing from the working directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def run_module(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=60)


def test_no_module_of_the_working_directory_is_imported(
    run_python: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its name, except what Python itself imports to find the module."""
    for name in [each for each in os.environ if each.startswith("COVERAGE")]:
        monkeypatch.delenv(name)  # coverage would import more in each process, before the module is looked for
    loaded = run_python("import importlib.util, runpy, sys; print(*sys.modules)").stdout.split()
    names = {*sys.stdlib_module_names, *packages_distributions()} - {*loaded, "attnexport"}
    assert {"json", "typing", "__future__", "click", "numpy", "tensorflow"} <= names
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} of the working directory')")
    (tmp_path / "attnexport").mkdir()  # as an output directory may be called
    done = run_module(tmp_path, "-m", "attnexport", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("attnexport ")
    assert run_module(tmp_path, "-m", "attnexport", "status", "--help").returncode == 0


def test_another_module_run_from_the_working_directory_keeps_it(tmp_path: Path) -> None:
    """Someone's own package may import attnexport before anything else is imported."""
    package = tmp_path / "trainer"
    package.mkdir()
    (package / "__init__.py").write_text("import attnexport\n")
    (package / "__main__.py").write_text("import beside\n")
    (tmp_path / "beside.py").write_text("print('beside')")
    for words in (["-m", "trainer"], ["-mtrainer", "attnexport"]):
        assert run_module(tmp_path, *words).stdout == "beside\n"


def test_children_leave_the_working_directory_off_their_path(root: Path) -> None:
    for folder in root.glob("src/attnexport/*/"):
        for path in folder.rglob("*.py"):
            for following in re.findall(r"\[sys\.executable, ([^,\]]*)", path.read_text()):
                assert following == '"-P"', f"{path}: start Python with -P"
