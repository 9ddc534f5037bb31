"""What is deployed in these tests: the shared classifier, written for each target by the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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


@contextmanager
def embedded_server(output: Path) -> Iterator[Any]:
    """The embedded server, by the very flags and files of the image; only its ports and the root of paths are ours."""
    from attnexport.cli.serve import make_server, serve, start
    from attnexport.cli.serve_sources import model_source
    from attnexport.cli.terminal import Terminal

    models = output / "config" / "models.config"
    models.write_text(models.read_text().replace('"/models/', f'"{output}/models/'))
    ports = {"--port=8500": "--port=auto", "--rest_api_port=8501": "--rest_api_port=auto"}
    words = [ports.get(word, word).replace("=/config/", f"={output}/config/") for word in image_flags(output)]
    options = serve.make_context("serve", words).params
    configs = model_source(options.pop("export"), options)()
    with make_server(Terminal(), options, rest_by_default=False) as server:
        start(server, configs)
        yield server


@pytest.fixture
def flags() -> Callable[[Path], list[str]]:
    return image_flags


@pytest.fixture
def started() -> Callable[[Path], AbstractContextManager[Any]]:
    return embedded_server
