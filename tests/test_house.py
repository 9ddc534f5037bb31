"""The rule of the house, held: packages, public names, file lengths, the wheel, and what the README promises."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def folders(root: Path) -> dict[str, str]:
    """Every package's name and folder, from the tree itself."""
    held = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    outside = {"tests", "benchmarks", "docs", "src", ".ci"}
    found = {Path(path).parent.as_posix() for path in held if (root / path).exists()}
    return {f"attnexport.{each.replace('/', '.')}": each for each in found if each.split("/")[0] not in outside | {"."}}


def test_pyproject_names_every_top_level_folder_and_no_other(root: Path) -> None:
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    named = set(wheel["hooks"]["custom"]["folders"])
    assert named == {each.split("/")[0] for each in folders(root).values()}


def test_every_folder_is_typed_documented_and_seen_by_the_tools(root: Path) -> None:
    for folder in folders(root).values():
        assert (root / folder / "__init__.py").read_text().startswith('"""'), folder
        top = folder.split("/")[0]
        assert (root / top / "py.typed").exists()
        assert (root / "src" / "attnexport" / top).resolve() == root / top


def test_no_file_is_longer_than_300_lines(root: Path) -> None:
    files = [
        path for folder in [*folders(root).values(), "tests", "benchmarks"] for path in (root / folder).rglob("*.py")
    ]
    assert {path.name: lines for path in files if (lines := len(path.read_text().splitlines())) > 300} == {}


PACKAGES = (
    *("core", "store", "parity", "parity.report", "exporter", "exporter.layers", "exporter.models"),
    *("serving", "serving.client", "serving.codec", "serving.messages", "serving.server"),
    *("tflite", "tflite.recipes", "tflite.search", "docker"),
)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_listed_sorted_and_there(package: str) -> None:
    module = importlib.import_module(f"attnexport.{package}")
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert len(set(module.__all__)) == len(module.__all__)
    homes = getattr(module, "_HOMES", None)
    if homes is not None:
        assert sorted(homes) == sorted(module.__all__)
        assert list(homes) == sorted(homes)
        # A submodule of the same name would hide what the package exports as soon as it is imported.
        assert not set(homes) & set(homes.values())
    with pytest.raises(AttributeError):
        _ = module.there_is_no_such_name


def test_naming_the_packages_loads_no_tensorflow(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    code = (
        "import sys, attnexport.core, attnexport.parity, attnexport.exporter, attnexport.exporter.models\n"
        "import attnexport.tflite\n"
        "import attnexport.serving.client, attnexport.serving.codec, attnexport.serving.messages\n"
        "from attnexport.exporter.models import PresetConfig\n"
        "assert not {'tensorflow', 'keras', 'numpy', 'grpc'} & set(sys.modules)\n"
        "from attnexport.parity import compare\n"
        "from attnexport.parity.report import Report, render\n"
        "assert not {'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_the_constraints_pin_every_requirement_within_its_bounds_and_name_no_index(root: Path) -> None:
    lines = (root / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.+]+", line) for line in lines)
    pinned = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    document = tomllib.loads((root / "pyproject.toml").read_text())
    project, groups = document["project"], document["dependency-groups"]
    lists = (
        project["dependencies"],
        document["build-system"]["requires"],
        *project["optional-dependencies"].values(),
        *groups.values(),
    )
    for requirement in (Requirement(text) for each in lists for text in each):
        version = pinned[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} is pinned to {version}"


def test_what_the_documents_name_is_there(root: Path) -> None:
    for document in (root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} names {target}"
    for path in re.findall(r"`(tests/[\w/]+\.py)`", (root / "README.md").read_text()):
        assert (root / path).exists(), path


def test_ci_calls_the_same_two_commands(root: Path) -> None:
    script = (root / ".ci" / "run").read_text()
    assert "make lint test" in script
    assert "make demo" in script
