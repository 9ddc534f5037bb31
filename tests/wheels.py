"""The wheel of the checkout, and an environment that has it with what its client needs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def link_distribution(name: str, target: Path, done: set[str]) -> None:
    """Install a distribution with what it needs from this environment: the network is not asked."""
    key = re.split(r"[^A-Za-z0-9_.\-]", name)[0].lower()
    if key in done:
        return
    done.add(key)
    distribution = importlib.metadata.distribution(key)
    for file in distribution.files or []:
        if not file.parts[0].startswith(".."):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (target / file).symlink_to(str(distribution.locate_file(file)))
    for requirement in distribution.requires or []:
        if "extra ==" not in requirement and "python_version <" not in requirement and "win32" not in requirement:
            link_distribution(requirement, target, done)


def install_client(wheel: Path, folder: Path) -> Path:
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(programs / "python")]
    words = ["install", "--no-compile", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *words], check=True, capture_output=True)
    [site] = (folder / "lib").glob("python*/site-packages")
    installed: set[str] = set()
    for line in (ROOT / "requirements-client.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            link_distribution(line, site, installed)
    assert not {"tensorflow", "keras", "tensorflow-serving-api"} & installed
    return programs


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    """Build a wheel, or an sdist, of a tree into a directory."""

    def run(source: Path, output: Path, target: str = "wheel") -> Path:
        # As pip does with --no-build-isolation and --no-index: neither asks the network.
        words = [sys.executable, "-P", "-m", "hatchling", "build", "--target", target, "--directory", str(output)]
        done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        [built] = output.glob("attnexport-*")
        return built

    return run


@pytest.fixture(scope="session")
def wheel(build: Callable[..., Path], once: Callable[..., Any]) -> Path:
    """The wheel of the checkout."""
    return Path(once("wheel", lambda folder: build(ROOT, folder)))


@pytest.fixture(scope="session")
def client_environment(wheel: Path, once: Callable[..., Any]) -> Path:
    """The programs of an environment with attnexport's wheel and requirements-client.txt, and nothing else."""
    return Path(once("client", lambda folder: install_client(wheel, folder)))
