"""Fixtures that are expensive to make, made once a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before anything imports TensorFlow.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code in a fresh process, in a directory of its own."""

    def run(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", code, *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300, **options)

    return run


@pytest.fixture
def attnexport(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process, in a directory of its own; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        from attnexport.cli.main import main

        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_request:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return int(exit_request.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both digits models, trained as the example trains them."""
    from attnexport.examples.digits import train_digits

    return train_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def exported_classifier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The default preset with pooling, exported with all three signatures: not to be changed."""
    from attnexport.exporter import PresetConfig, export_saved_model

    return export_saved_model(PresetConfig(pooling="average"), tmp_path_factory.mktemp("exports"))
