"""What is deployed in these tests: the shared classifier, written for each target by the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def export(exported_classifier: Any) -> Path:
    directory: Path = exported_classifier.directory
    return directory


@pytest.fixture
def deployed(attnexport: Run, export: Path, tmp_path: Path) -> Callable[..., Path]:
    """Deploy the classifier; gives the directory."""

    def deploy(target: str, *words: str) -> Path:
        output = tmp_path / target
        code, _, err = attnexport("deploy", export, "--target", target, "--output", output, *words)
        assert (code, err) == (0, "")
        return output

    return deploy


def image_flags(output: Path) -> list[str]:
    """The flags of the image's entry point."""
    text = (output / "Dockerfile").read_text().partition("ENTRYPOINT ")[2].replace("\\\n", "")
    program, *words = json.loads(text)
    assert program == "tensorflow_model_server"
    assert all(isinstance(word, str) for word in words)
    return words


@pytest.fixture
def flags() -> Callable[[Path], list[str]]:
    return image_flags


@pytest.fixture
def started(serve_here: Callable[[Sequence[str]], Any]) -> Callable[[Path], AbstractContextManager[Any]]:
    """The embedded server, by the very flags and files of the image; only its ports and the root of paths are ours."""

    def start(output: Path) -> AbstractContextManager[Any]:
        models = output / "config" / "models.config"
        models.write_text(models.read_text().replace('"/models/', f'"{output}/models/'))
        words = [word.replace("=/config/", f"={output}/config/") for word in image_flags(output)]
        server: AbstractContextManager[Any] = serve_here(words)
        return server

    return start
