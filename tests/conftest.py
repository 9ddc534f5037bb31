"""Fixtures that are expensive to make, made once a run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports TensorFlow.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

# What the suite exports is not remembered beside what its user exported.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="attnexport-state-")

# A shell that starts the suite in the background has SIGINT ignored, and all processes that tests start would inherit
# that; a handler of Python's own they do not.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no word on how long a busy machine takes over them.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

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
def serve_here() -> Callable[[Sequence[str]], Any]:
    """The server of `attnexport serve WORDS` in this process, to be used in a `with` block, on free ports."""

    def make(words: Sequence[str]) -> Any:
        from attnexport.cli.serve import serve as command
        from attnexport.workflows.serve import serve
        from attnexport.workflows.serve_settings import ServeSettings

        options = command.make_context("serve", list(words)).params
        settings = ServeSettings(**{name: options[name] for name in ServeSettings.flags()})
        return serve(options["export"], settings=settings)

    return make


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both digits models, trained as the example trains them."""
    from attnexport.examples.digits import train_digits

    return train_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def exported_classifier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The default preset with pooling, exported with all three signatures: not to be changed."""
    from attnexport.exporter import PresetConfig
    from attnexport.workflows.export import export_saved_model

    return export_saved_model(PresetConfig(pooling="average"), tmp_path_factory.mktemp("exports"))


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
def wheel(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout."""
    return build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def client_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with attnexport's wheel and requirements-client.txt, and nothing else."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(programs / "python")]
    subprocess.run(
        [*pip, "install", "--no-compile", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True
    )
    [site] = (folder / "lib").glob("python*/site-packages")
    installed: set[str] = set()
    for line in (ROOT / "requirements-client.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            link_distribution(line, site, installed)
    assert not {"tensorflow", "keras", "tensorflow-serving-api"} & installed
    return programs


@pytest.fixture(scope="session")
def serving_models() -> Any:
    """What the server's tests share: `write_model`, and `Serving`, a running server with clients of others."""
    spec = importlib.util.spec_from_file_location("serving_models", ROOT / "tests" / "serving_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def model_base(serving_models: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base path with the versions 1 and 2 of a small model: not to be changed."""
    base: Path = tmp_path_factory.mktemp("served") / "m"
    for version in (1, 2):
        serving_models.write_model(base, version)
    return base


@pytest.fixture
def start_serving(serving_models: Any) -> Iterator[Callable[..., Any]]:
    """Start servers; all are stopped in the end."""
    started: list[Any] = []

    def start(*args: Any, **options: Any) -> Any:
        started.append(serving_models.Serving(*args, **options))
        return started[-1]

    yield start
    for serving in started:
        serving.stop()


@pytest.fixture(scope="module")
def serving(serving_models: Any, model_base: Path) -> Iterator[Any]:
    """A server of both versions of the small model `m`, labels `stable` 1 and `canary` 2."""
    from attnexport.serving.server import ModelConfig, VersionPolicy

    config = ModelConfig("m", model_base, policy=VersionPolicy(every=True), labels={"stable": 1, "canary": 2})
    running = serving_models.Serving([config], allow_unavailable_labels=True)
    yield running
    running.stop()
