"""Every example in a docstring works as it stands, and every public function has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import attnexport

SOURCE = Path(__file__).parent.parent / "src" / "attnexport"
# Through src/attnexport: collected from core/, say, a second copy of the package would be imported.
MODULES = [
    ".".join(["attnexport", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
    for folder in sorted(SOURCE.iterdir())
    for path in (sorted(folder.rglob("*.py")) if folder.is_dir() else [folder])
    if path.suffix == ".py" and ">>> " in path.read_text(encoding="utf-8")
]
PACKAGES = (
    *("attnexport", "attnexport.core", "attnexport.docker", "attnexport.exporter", "attnexport.exporter.layers"),
    *("attnexport.exporter.models", "attnexport.parity", "attnexport.parity.report", "attnexport.serving"),
    *("attnexport.serving.codec", "attnexport.store", "attnexport.tflite", "attnexport.tflite.recipes"),
    "attnexport.tflite.search",
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    printed: list[str] = []
    for test in doctest.DocTestFinder().find(module, name):
        runner.run(test, out=printed.append)
    assert not runner.failures, "".join(printed)
    assert runner.tries


def needs_example(package: str, name: str) -> bool:
    """Functions everywhere, and what `import attnexport as ax` offers; an error and a constant need none."""
    value = getattr(importlib.import_module(package), name)
    if inspect.isclass(value):
        return package == "attnexport" and not issubclass(value, BaseException)
    return inspect.isroutine(value)


def test_every_public_function_has_an_example() -> None:
    without = set()
    for package in PACKAGES:
        for name in importlib.import_module(package).__all__:
            if needs_example(package, name):
                value = getattr(importlib.import_module(package), name)
                if ">>> " not in (inspect.getdoc(value) or ""):
                    without.add(f"{package}.{name}")
    assert sorted(without) == []
    assert attnexport.__all__
