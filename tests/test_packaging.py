"""The wheel has the same members from every place that it is built from, and no wheel is built from half a tree."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

DOCKERFILES = sorted(path.name for path in (Path(__file__).parent.parent / "docker").glob("*.Dockerfile"))


Build = Callable[..., Path]


def members(wheel: Path) -> dict[str, int]:
    """Names and checksums."""
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


def test_the_wheel_holds_every_file_of_every_package(root: Path, wheel: Path) -> None:
    packages = [path.name for path in (root / "src" / "attnexport").iterdir() if path.is_dir() and path.is_symlink()]
    expected = {f"attnexport/{each}" for each in tracked(root) if each.split("/")[0] in packages}
    expected |= {f"attnexport/{name}" for name in ("__init__.py", "__main__.py", "py.typed")}
    assert {each for each in members(wheel) if ".dist-info/" not in each} == expected


def test_the_sdist_builds_the_same_wheel(root: Path, build: Build, wheel: Path, tmp_path: Path) -> None:
    sdist = build(root, tmp_path / "sdist", "sdist")
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    assert members(build(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "out")) == members(wheel)


def test_a_tree_without_links_builds_the_same_wheel(root: Path, build: Build, wheel: Path, tmp_path: Path) -> None:
    """As a zip of the repository unpacks, and as git writes it on Windows."""
    copy(root, tmp_path / "source", tracked(root))
    assert not any(path.is_symlink() for path in (tmp_path / "source").rglob("*"))
    assert members(build(tmp_path / "source", tmp_path / "out")) == members(wheel)


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
    root: Path, build: Build, wheel: Path, tmp_path: Path, name: str
) -> None:
    copy(root, tmp_path / "source", dockerfile_copies(root, name))
    assert members(build(tmp_path / "source", tmp_path / "out")) == members(wheel)


def test_a_missing_folder_fails_the_build(root: Path, build: Build, tmp_path: Path) -> None:
    copied = [path for path in dockerfile_copies(root, DOCKERFILES[0]) if not path.startswith("parity/")]
    copy(root, tmp_path / "source", copied)
    with pytest.raises(RuntimeError, match="parity"):
        build(tmp_path / "source", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_the_wheel_gives_a_command_line_without_tensorflow(client_environment: Path, tmp_path: Path) -> None:
    """Installed with `--no-deps` beside requirements-client.txt alone."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(client_environment / "attnexport"), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env={"PATH": "/usr/bin"}
        )

    helped = run("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "savedmodel" in helped.stdout
    assert run("--version").stdout.startswith("attnexport ")
    # What does need it says so, in one line.
    without = run("savedmodel")
    assert without.returncode == 2, without.stderr
    assert "tensorflow" in without.stderr
    assert without.stderr.count("\n") == 1
