"""The images are built and run, where ATTNEXPORT_IMAGES=1 asks for it: that takes minutes, and gigabytes of disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("ATTNEXPORT_IMAGES") != "1" or not (shutil.which("docker") or shutil.which("buildah")),
        reason="ATTNEXPORT_IMAGES=1 builds the images, with docker or buildah",
    ),
]


def test_every_image_is_built_and_runs_as_its_user(root: Path) -> None:
    words = [sys.executable, "-m", "tests.docker.images"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False, timeout=7200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "health.sh succeeds" in done.stdout
