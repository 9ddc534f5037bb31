"""The wheel has the same members from every place that it is built from, and no wheel is built from half a tree."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

DOCKERFILES = sorted(path.name for path in (Path(__file__).parent.parent / "docker").glob("*.Dockerfile"))
# In one worker, which builds from the checkout once.
pytestmark = pytest.mark.xdist_group("wheel")


def build(source: Path, output: Path, target: str = "wheel") -> subprocess.CompletedProcess[str]:
    """Build as pip does with --no-build-isolation and --no-index: neither asks the network."""
    words = [sys.executable, "-P", "-m", "hatchling", "build", "--target", target, "--directory", str(output)]
    return subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)


def members(source: Path, output: Path) -> dict[str, int]:
    """The names and checksums of the wheel that is built from a tree."""
    done = build(source, output)
    assert done.returncode == 0, done.stderr
    [wheel] = output.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {each.filename: each.CRC for each in archive.infolist()}


def tracked(root: Path) -> list[str]:
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    return [each for each in listed if (root / each).exists()]


def copy(root: Path, target: Path, paths: list[str]) -> None:
    """Copy as git does where it makes no links: a link is a text file that holds its target."""
    for path in paths:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        if (root / path).is_symlink():
            (target / path).write_text(str((root / path).readlink()))
        else:
            shutil.copyfile(root / path, target / path)


@pytest.fixture(scope="session")
def from_checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    return members(root, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_file_of_every_package(root: Path, from_checkout: dict[str, int]) -> None:
    packages = [path.name for path in (root / "src" / "attnexport").iterdir() if path.is_dir() and path.is_symlink()]
    expected = {f"attnexport/{each}" for each in tracked(root) if each.split("/")[0] in packages}
    expected |= {f"attnexport/{name}" for name in ("__init__.py", "__main__.py", "py.typed")}
    assert {each for each in from_checkout if ".dist-info/" not in each} == expected


def test_the_sdist_builds_the_same_wheel(root: Path, from_checkout: dict[str, int], tmp_path: Path) -> None:
    done = build(root, tmp_path, "sdist")
    assert done.returncode == 0, done.stderr
    [sdist] = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    assert members(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "out") == from_checkout


def test_a_tree_without_links_builds_the_same_wheel(root: Path, from_checkout: dict[str, int], tmp_path: Path) -> None:
    """As a zip of the repository unpacks, and as git writes it on Windows."""
    copy(root, tmp_path / "source", tracked(root))
    assert not any(path.is_symlink() for path in (tmp_path / "source").rglob("*"))
    assert members(tmp_path / "source", tmp_path / "out") == from_checkout


def dockerfile_copies(root: Path, name: str) -> list[str]:
    """What a Dockerfile copies out of its context."""
    text = (root / "docker" / name).read_text()
    sources = [each for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for each in line.split()]
    files = tracked(root)
    chosen = [
        path for path in files if path in sources or any(path.startswith(each) for each in sources if each[-1] == "/")
    ]
    assert all(any(path.startswith(each) for path in chosen) for each in sources), sources
    return chosen


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_a_dockerfile_copies_builds_the_same_wheel(
    root: Path, from_checkout: dict[str, int], tmp_path: Path, name: str
) -> None:
    copy(root, tmp_path / "source", dockerfile_copies(root, name))
    assert members(tmp_path / "source", tmp_path / "out") == from_checkout


def test_a_missing_folder_fails_the_build(root: Path, tmp_path: Path) -> None:
    copied = [path for path in dockerfile_copies(root, DOCKERFILES[0]) if not path.startswith("parity/")]
    copy(root, tmp_path / "source", copied)
    done = build(tmp_path / "source", tmp_path / "out")
    assert done.returncode != 0
    assert "parity" in done.stderr
    assert not list((tmp_path / "out").glob("*"))
